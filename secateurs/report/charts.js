// Unpacks the chart library that travels in this page, then draws every figure in the colours of the theme.
(async () => {
  "use strict";
  const boxes = [...document.querySelectorAll(".chart")];
  const done = (state) => {
    document.documentElement.dataset.charts = state;
    document.dispatchEvent(new Event("charts"));
  };
  if (!boxes.length) return done("ready");
  const packed = document.getElementById("plotly-source")?.textContent.trim();
  const giveUp = (why) => {
    boxes.forEach((box) => { box.innerHTML = `<p class="failed">${why}</p>`; });
    done("failed");
  };
  if (!packed && !window.Plotly) return giveUp("The charts need the file plotly.js, which is not where it was.");
  if (packed) try {
    const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  } catch (error) {
    return giveUp("This browser is too old to draw the chart.");
  }
  // A box may make its chart anew each time, as ``box.spec()``, and ask for it with the event "redraw".
  const fixed = boxes.map((box) => (box.spec ? null : JSON.parse(box.nextElementSibling.textContent)));
  const coarse = matchMedia("(pointer: coarse)").matches;
  const config = { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "resetScale2d"]] };

  const themed = (node, style) => {
    if (typeof node === "string") {
      const name = /^var\((--[\w-]+)\)$/.exec(node);
      return name ? style.getPropertyValue(name[1]).trim() : node;
    }
    if (Array.isArray(node)) return node.map((item) => themed(item, style));
    if (node && typeof node === "object") {
      return Object.fromEntries(Object.entries(node).map(([key, item]) => [key, themed(item, style)]));
    }
    return node;
  };

  const drawOne = (box, i) => {
    const style = getComputedStyle(document.documentElement);
    const { data, layout } = themed(fixed[i] ?? box.spec(), style);
    if (coarse) layout.dragmode = false; // a finger on a chart scrolls the page
    layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: layout.xaxis.tickfont.color, activecolor: layout.font.color };
    return window.Plotly.react(box, data, layout, config);
  };
  const draw = () => Promise.all(boxes.map(drawOne));
  boxes.forEach((box, i) => box.addEventListener("redraw", () => drawOne(box, i)));
  await draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  done("ready");
})();
