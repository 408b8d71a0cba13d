// What is wider than the page scrolls in its own box, and a tab stop lets the keyboard scroll it.
// The theme sees to code that shows from the start; here come formulas and what a solution unfolds.
(function () {
  "use strict";
  const FORMULA = 'mjx-container[display="true"]';

  const watch = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const formula = target.closest(FORMULA);
      const box = formula ?? target;
      const isWide = box.scrollWidth > box.clientWidth;
      const isHigh = box.scrollHeight > box.clientHeight;
      box.tabIndex = isWide || (isHigh && !formula) ? 0 : -1;
    }
  });

  function observe(parts) {
    for (const part of document.querySelectorAll(parts)) watch.observe(part);
  }

  // By then the theme has set its own tab stops and MathJax runs, on pages that have it.
  addEventListener("load", async () => {
    observe(".bd-article pre, .bd-article .cell_output > .output");
    await window.MathJax?.startup?.promise;
    // What is in the box too: it takes another width when its font arrives.
    observe(`${FORMULA}, ${FORMULA} *`);
  });
})();
