// The page of a comparison: sorts and filters its tables, draws accuracy against a cost, shows the run that is pressed.
// What users named is written as text, never as HTML; the chart's labels come escaped.
(() => {
  "use strict";
  const make = (kind, text, className = "") => {
    const element = document.createElement(kind);
    element.textContent = text;
    if (className) element.className = className;
    return element;
  };

  // Tables. A cell's number is its data-v; a cell without one, or with a dash, is missing and comes last.
  document.querySelectorAll("table.sortable").forEach((table) => {
    const heads = [...table.tHead.rows[0].cells];
    const body = table.tBodies[0];
    const keys = (column, words) => new Map([...body.rows].map((row) => {
      const cell = row.cells[column];
      if (words) return [row, cell.textContent === "–" ? null : cell.textContent];
      return [row, cell.dataset.v === undefined ? null : +cell.dataset.v];
    }));
    heads.forEach((head, column) => {
      const words = "text" in head.dataset;
      const button = make("button", "", "sort");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const first = head.dataset.first ?? "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const order = head.getAttribute("aria-sort") === first ? other : first;
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", order);
        const key = keys(column, words);
        const sign = order === "ascending" ? 1 : -1;
        const compare = words ? new Intl.Collator("en", { numeric: true }).compare : (a, b) => a - b;
        const rows = [...body.rows].sort((a, b) => {
          const [x, y] = [key.get(a), key.get(b)];
          if (x === null || y === null) return (x === null) - (y === null);
          return sign * compare(x, y);
        });
        body.append(...rows);
      });
    });
  });

  document.querySelectorAll(".tools, .which").forEach((part) => { part.hidden = false; });

  const data = JSON.parse(document.getElementById("comparison")?.textContent ?? "null");
  const runs = document.querySelector(".runs");
  if (runs) {
    const rows = [...runs.querySelectorAll("tbody tr")];
    const words = rows.map((row) => [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase());
    const count = runs.querySelector(".count");
    const filter = () => {
      const asked = runs.querySelector("[name=filter]").value.toLowerCase().split(/\s+/).filter(Boolean);
      let left = 0;
      rows.forEach((row, i) => {
        const shown = asked.every((word) => words[i].includes(word));
        row.hidden = !shown;
        left += shown;
      });
      count.textContent = `${left.toLocaleString("en")} of ${rows.length.toLocaleString("en")} runs`;
    };
    runs.querySelector("[name=filter]").addEventListener("input", filter);
    filter();
    // The command of a run opens in the box that the chart uses too.
    if (data) rows.forEach((row, i) => {
      row.querySelector("summary")?.addEventListener("click", (event) => {
        event.preventDefault();
        pick(data.runs[i], event.currentTarget);
      });
    });
  }
  if (!data) return;

  // The box about what was pressed.
  const box = document.querySelector(".picked");
  let opener = null;
  const close = () => {
    box.hidden = true;
    opener?.focus({ preventScroll: true });
    opener = null;
  };
  const copy = (text, button) => {
    const fallback = () => {
      const area = make("textarea", text);
      box.append(area);
      area.select();
      const worked = document.execCommand("copy");
      area.remove();
      return worked;
    };
    const told = (worked) => { button.textContent = worked ? "copied" : "select and copy it"; };
    if (!navigator.clipboard) return told(fallback());
    navigator.clipboard.writeText(text).then(() => told(true), () => told(fallback()));
  };
  const link = (text, href) => {
    const anchor = make("a", text);
    anchor.href = href;
    return anchor;
  };
  const pick = (what, from = null) => {
    opener = from;
    const shut = make("button", "×", "shut");
    shut.type = "button";
    shut.setAttribute("aria-label", "close");
    shut.addEventListener("click", close);
    const facts = document.createElement("dl");
    what.facts.forEach(([name, value]) => facts.append(make("dt", name), make("dd", value)));
    const parts = [shut, make("h3", what.title), facts];
    if (what.href) {
      const line = make("p", "");
      line.append(link("open its report", what.href));
      parts.push(line);
    }
    if (what.runs?.length) {
      const line = make("p", "reports: ");
      what.runs.map((i) => data.runs[i]).filter((run) => run.href).forEach((run, i) => {
        line.append(...(i ? [", "] : []), link(`seed ${run.seed}`, run.href));
      });
      parts.push(line);
    }
    if (what.command) {
      const button = make("button", "copy");
      button.type = "button";
      button.addEventListener("click", () => copy(what.command, button));
      const line = make("div", "", "export");
      line.append(make("code", what.command), button);
      parts.push(make("p", "export its network:", "note"), line);
    }
    box.replaceChildren(...parts);
    box.hidden = false;
    if (from) shut.focus({ preventScroll: true });
  };
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !box.hidden) close(); });

  // The chart.
  const figure = document.querySelector("figure.comparison");
  const chart = figure.querySelector(".chart");
  const field = (name) => figure.querySelector(`[name=${name}]`);
  const checks = [...figure.querySelectorAll("[name=method]")];
  let logged = null; // until somebody says otherwise, a cost that spans much is drawn on a log scale
  let drawn = []; // what stands behind each trace's points

  const front = (points, key) => {
    const sorted = points.filter((p) => !data.methods[p.m].control).sort((a, b) => a.x[key] - b.x[key] || b.y - a.y);
    let best = -Infinity;
    return sorted.filter((p) => p.y > best && ((best = p.y), true));
  };
  // Names only where they do not run into one another, from the top down.
  const named = (edge, key, log, all) => {
    const scale = (v) => (log ? Math.log10(v) : v);
    const xs = all.map((p) => scale(p.x[key])), ys = all.map((p) => p.y);
    const wide = Math.max(...xs) - Math.min(...xs) || 1, high = Math.max(...ys) - Math.min(...ys) || 1;
    const kept = [];
    [...edge].reverse().forEach((p) => {
      const near = kept.some((q) => {
        const across = Math.abs(scale(q.x[key]) - scale(p.x[key])) / wide, up = Math.abs(q.y - p.y) / high;
        return across < 0.05 || (across < 0.18 && up < 0.07);
      });
      if (!near) kept.push(p);
    });
    return kept.map((p) => {
      const right = scale(p.x[key]) - Math.min(...xs) < 0.25 * wide; // there is no room to its left
      return { text: data.methods[p.m].label, x: scale(p.x[key]), y: p.y, showarrow: false, borderpad: 1,
        xanchor: right ? "left" : "right", xshift: right ? 8 : -8, yanchor: "bottom", yshift: 3,
        bgcolor: "var(--card)", opacity: 0.88, font: { size: 11.5, color: "var(--ink)" } };
    });
  };

  chart.spec = () => {
    const cost = data.costs.find((c) => c.key === field("cost").value) ?? data.costs[0];
    const key = cost.key;
    const budget = field("budget")?.value ?? "";
    const here = (p) => p.b >= 0 && (budget === "" || p.b === +budget) && p.y !== null && p.x[key] != null;
    const means = data.points.filter(here);
    const amounts = means.map((p) => p.x[key]);
    const positive = amounts.length > 0 && Math.min(...amounts) > 0;
    const log = positive && (logged ?? Math.max(...amounts) / Math.min(...amounts) >= 4);
    field("log").checked = log;
    field("log").disabled = !positive;
    const shown = new Set(checks.filter((check) => check.checked).map((check) => +check.value));
    const single = (field("runs")?.checked ?? false) ? data.runs.filter((r) => here(r) && shown.has(r.m)) : [];
    const seen = means.filter((p) => shown.has(p.m));

    // Where all cost the same, as at one budget, methods stand side by side instead, the best first.
    const [least, most] = [Math.min(...amounts), Math.max(...amounts)];
    const flat = seen.length > 0 && most - least < 0.1 * most;
    const order = [...new Set([...seen].sort((a, b) => b.y - a.y).map((p) => p.m))];
    const across = flat ? (p) => order.indexOf(p.m) : (p) => p.x[key];

    const traces = [], behind = [];
    const add = (trace, points) => {
      traces.push({ type: "scatter", hoverinfo: "text", showlegend: false, cliponaxis: false, ...trace,
        x: points.map(across), y: points.map((p) => p.y) });
      behind.push(points);
    };
    add({ mode: "markers", hovertext: single.map((r) => r.hover), opacity: 0.45,
      marker: { size: 5, line: { width: 0 }, color: single.map((r) => data.methods[r.m].colour) } }, single);
    data.methods.forEach((method, m) => {
      const mine = seen.filter((p) => p.m === m).sort((a, b) => a.x[key] - b.x[key]);
      if (!mine.length) return;
      add({
        name: method.label, mode: "lines+markers", hovertext: mine.map((p) => p.hover),
        line: { color: method.colour, width: method.control ? 1 : 1.3, dash: method.control ? "dot" : "solid" },
        marker: { color: method.colour, symbol: method.symbol, size: 10, opacity: 1,
          line: { width: method.control ? 1.6 : 1, color: method.control ? method.colour : "var(--card)" } },
        error_y: { type: "data", symmetric: false, thickness: 1.2, width: 4, color: method.colour,
          array: mine.map((p) => (p.high === null ? null : p.high - p.y)),
          arrayminus: mine.map((p) => (p.low === null ? null : p.y - p.low)) },
      }, mine);
    });
    const edge = flat ? [] : front(means, key);
    add({ mode: "lines", hoverinfo: "skip", line: { color: "var(--ink)", width: 1.4, dash: "dot", shape: "hv" } }, edge);
    drawn = behind;

    const dense = data.dense;
    const ys = [...seen, ...single, ...edge].map((p) => p.y).concat(dense ? [dense.y] : []);
    let low = Math.min(...ys), high = Math.max(...ys);
    // Intervals are seen whole, unless they would squeeze what they are about; accuracies end at 0 and 1.
    const span = high - low || 0.01, ends = seen.flatMap((p) => [p.low, p.high]).filter((v) => v !== null);
    low = Math.max(Math.min(low, ...ends), low - span, 0);
    high = Math.min(Math.max(high, ...ends), high + span, 1);
    const room = 0.07 * (high - low) || 0.01;
    const layout = structuredClone(data.layout);
    layout.yaxis.range = ys.length ? [low - room, high + 1.3 * room] : [0, 1];
    layout.xaxis.title.text = cost.title;
    Object.assign(layout.xaxis, { type: log ? "log" : "linear", tickformat: cost.ticks, ticksuffix: cost.suffix });
    if (log && most / least >= 4 && most / least < 1000) layout.xaxis.dtick = "D2"; // 1, 2 and 5: all digits collide
    if (flat) Object.assign(layout.xaxis, { title: { ...layout.xaxis.title, text: `at the same ${cost.title}, within 10%` },
      type: "linear", ticksuffix: "", tickmode: "array", tickvals: order.map((_, i) => i),
      ticktext: order.map((m) => data.methods[m].label), range: [-0.6, order.length - 0.4], showgrid: false });
    // Zoomed views are kept while only the choice of methods changes.
    layout.uirevision = [key, log, budget, flat && order].join();
    layout.annotations = named(edge, key, log, means);
    if (dense) {
      const whole = { xref: "paper", yref: "y", x0: 0, x1: 1, layer: "below" };
      layout.shapes = [{ ...whole, type: "line", y0: dense.y, y1: dense.y,
        line: { color: "var(--muted)", width: 1.3, dash: "dash" } }];
      if (dense.low !== null && dense.high !== null) layout.shapes.push({ ...whole, type: "rect",
        y0: dense.low, y1: dense.high, fillcolor: "var(--other)", line: { width: 0 } });
      layout.annotations.push({ text: dense.label, xref: "paper", yref: "y", x: 0.27, y: dense.y, showarrow: false,
        xanchor: "center", yanchor: "bottom", font: { size: 11.5, color: "var(--muted)" } });
    }
    return { data: traces, layout };
  };

  const redraw = () => chart.dispatchEvent(new Event("redraw"));
  ["cost", "budget", "runs"].forEach((name) => field(name)?.addEventListener("change", redraw));
  field("log").addEventListener("change", () => { logged = field("log").checked; redraw(); });
  checks.forEach((check) => check.addEventListener("change", redraw));
  figure.querySelectorAll("[data-show]").forEach((button) => button.addEventListener("click", () => {
    const what = button.dataset.show;
    let places = 0; // methods come in the order of their standing
    checks.forEach((check) => {
      const control = data.methods[+check.value].control;
      if (what !== "best") check.checked = what === "all";
      else if (!control) check.checked = places++ < data.best;
    });
    redraw();
  }));
  document.addEventListener("charts", () => {
    chart.on?.("plotly_click", ({ points: [point] }) => {
      const what = drawn[point.curveNumber]?.[point.pointIndex];
      if (what) pick(what);
    });
  }, { once: true });
})();
