// The Cantor function and its soft staircase, as geobasin.cantor has them.

const DIGITS = 64;
const SCALE = 100;

// The first ternary digits of x in [0, 1], exactly: a double is a whole number of 2^-100ths, or so
// near one that no value of the Cantor function moves by 1e-18.
export function ternary(x, count) {
  if (x >= 1) return Array(count).fill(2);
  const one = 1n << BigInt(SCALE);
  let rest = BigInt(Math.floor(x * 2 ** SCALE));
  return Array.from({ length: count }, () => {
    rest *= 3n;
    const digit = rest / one;
    rest %= one;
    return Number(digit);
  });
}

// The Cantor function on [0, 1].
export function cantor(x) {
  if (x >= 1) return 1;
  let value = 0;
  let weight = 0.5;
  for (const digit of ternary(x, DIGITS)) {
    if (digit > 0) value += weight;
    if (digit === 1) break;
    weight /= 2;
  }
  return value;
}

// The soft first digit of x: the probabilities of left, middle and right.
export function reading(x, tau) {
  const scores = [0.5, 1.5, 2.5].map((centre) => -((3 * x - centre) ** 2) / tau);
  const best = Math.max(...scores);
  const weights = scores.map((score) => Math.exp(score - best));
  const total = weights[0] + weights[1] + weights[2];
  return weights.map((weight) => weight / total);
}

// The soft staircase kappa_L(x).
export function kappa(x, alpha, tau, levels) {
  const [left, middle, right] = reading(x, tau);
  if (levels === 1) return alpha * middle + right;
  const below = kappa(clip(3 * x), alpha, tau, levels - 1);
  const above = kappa(clip(3 * x - 2), alpha, tau, levels - 1);
  return (left * below) / 2 + alpha * middle + (right * (1 + above)) / 2;
}

function clip(x) {
  return Math.min(1, Math.max(0, x));
}

// The place on the line of a feature whose linear map gives this number; see CantorStaircase.
export function place(linear, reach) {
  return Math.min(1 - 1e-6, Math.max(1e-6, 0.5 + reach * Math.tanh(linear)));
}
