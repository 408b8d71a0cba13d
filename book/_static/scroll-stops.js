// What is wider than the page scrolls in its own box, and a tab stop lets the keyboard scroll it.
// The theme sees to code that shows from the start; here come formulas and what a solution unfolds.
(function () {
  "use strict";
  const boxes = new Set();

  function mark(box) {
    const isWide = box.scrollWidth > box.clientWidth;
    const isHigh = box.scrollHeight > box.clientHeight && box.localName !== "mjx-container";
    box.tabIndex = isWide || isHigh ? 0 : -1;
  }

  const watch = new ResizeObserver((entries) => entries.forEach(({ target }) => mark(target)));

  function observe(selector) {
    for (const box of document.querySelectorAll(selector)) {
      boxes.add(box);
      watch.observe(box);
    }
  }

  // A glyph may be wider than the box that MathJax has measured for it, until its font is there.
  document.fonts.addEventListener("loadingdone", () => boxes.forEach(mark));

  // By then the theme has set its own tab stops and MathJax runs, on pages that have it.
  addEventListener("load", async () => {
    observe(".bd-article pre, .bd-article .cell_output > .output");
    await window.MathJax?.startup?.promise;
    observe('mjx-container[display="true"]');
  });
})();
