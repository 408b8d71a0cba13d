// Regular simplices and the scores of a point against them, as geobasin.simplex has them. The
// frame U of a class simplex is always the first axes of the space.

const ROOT_FLOOR = 1e-8;

export function dot(first, second) {
  let sum = 0;
  for (let axis = 0; axis < first.length; axis += 1) sum += first[axis] * second[axis];
  return sum;
}

// Vertices of the regular k-simplex in R^k: unit vectors, every two with the product -1/k.
export function regularSimplex(k) {
  return Array.from({ length: k + 1 }, (_, vertex) =>
    Array.from({ length: k }, (_, axis) => {
      const row = axis + 1;
      const entry = vertex < row ? 1 : vertex === row ? -row : 0;
      return entry * Math.sqrt((k + 1) / k / (row * (row + 1)));
    }));
}

// A unit point z against the simplex mu + r x_j: the cosine with its centroid, the distance to its
// nearest vertex, and which vertex that is.
export function scoreRigid(z, centroid, radius, corners) {
  const product = dot(z, centroid);
  const norm = dot(centroid, centroid);
  let reach = -Infinity;
  let nearest = 0;
  for (let vertex = 0; vertex < corners.length; vertex += 1) {
    const corner = corners[vertex];
    let along = 0;
    for (let axis = 0; axis < corner.length; axis += 1) {
      along += (z[axis] - centroid[axis]) * corner[axis];
    }
    if (along > reach) {
      reach = along;
      nearest = vertex;
    }
  }
  const squared = 1 + norm - 2 * product + radius * radius - 2 * radius * reach;
  return {
    cosine: product / Math.max(Math.sqrt(norm), 1e-12),
    distance: Math.sqrt(Math.max(0, squared) + ROOT_FLOOR),
    nearest,
  };
}

// The height on the soft staircase of a point whose place is read along the first axis.
export function lineHeight(first, { alpha, tau, levels, reach, slope }) {
  return kappa(place(slope * first, reach), alpha, tau, levels);
}

// In place and by loops, like the functions above: a landscape asks for it at every pixel.
export function softmax(scores) {
  let best = -Infinity;
  for (let index = 0; index < scores.length; index += 1) best = Math.max(best, scores[index]);
  let total = 0;
  for (let index = 0; index < scores.length; index += 1) {
    scores[index] = Math.exp(scores[index] - best);
    total += scores[index];
  }
  for (let index = 0; index < scores.length; index += 1) scores[index] /= total;
  return scores;
}
