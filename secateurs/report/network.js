// Pointing at a row or a group of the network shows all that is cut together, and says what it is.
document.querySelectorAll(".net").forEach((net) => {
  "use strict";
  const { nodes, groups } = JSON.parse(net.querySelector("script").textContent);
  const about = net.querySelector(".net-about");
  const rows = [...net.querySelectorAll(".net-row")];
  const drawn = groups.map(() => []); // of each group: its wires, marks and folded stages
  net.querySelectorAll("[data-g]").forEach((part) => {
    part.dataset.g.split(" ").filter(Boolean).forEach((g) => drawn[g].push(part));
  });
  const makes = groups.map((_, g) => nodes.flatMap((node, n) => (node.groups.includes(g) ? [n] : [])));
  const reads = groups.map((_, g) => nodes.flatMap((node, n) =>
    (node.inputs.some((i) => nodes[i].groups.includes(g)) && !node.groups.includes(g) ? [n] : [])));
  let pinned = null;

  const line = (kind, text) => {
    const element = document.createElement("p");
    element.className = kind;
    element.textContent = text;
    return element;
  };
  const soft = (name) => name.replaceAll(".", ".\u200b"); // long names break at their dots
  const names = (list) => {
    const seen = [...new Set(list.map((n) => nodes[n].name))];
    return seen.slice(0, 12).join(", ") + (seen.length > 12 ? ` and ${seen.length - 12} more` : "");
  };
  const told = (g, whole) => {
    const chip = document.createElement("i");
    chip.className = "chip";
    chip.style.setProperty("--h", groups[g].hue);
    chip.textContent = g + 1;
    const head = line("net-group", ` ${soft(groups[g].name)}: ${groups[g].kept}`);
    head.prepend(chip);
    const parts = [head];
    if (groups[g].each) parts.push(line("", groups[g].each));
    if (whole) {
      parts.push(line("", `made in ${names(makes[g])}`));
      if (reads[g].length) parts.push(line("", `read by ${names(reads[g])}`));
    }
    return parts;
  };

  const clear = () => {
    net.querySelectorAll(".on, .in").forEach((part) => part.classList.remove("on", "in"));
    net.querySelectorAll("button").forEach((button) => button.setAttribute("aria-pressed", "false"));
  };
  const light = (list) => {
    clear();
    net.classList.toggle("busy", list.length > 0);
    net.classList.toggle("one", list.length === 1);
    if (list.length === 1) net.style.setProperty("--lit", groups[list[0]].hue);
    list.forEach((g) => {
      drawn[g].forEach((part) => part.classList.add("on"));
      rows.forEach((row) => {
        if (makes[g].includes(+row.dataset.n)) row.classList.add("on");
        else if (reads[g].includes(+row.dataset.n)) row.classList.add("in");
      });
      net.querySelector(`button[data-group="${g}"]`).setAttribute("aria-pressed", "true");
    });
  };
  const rest = () => {
    light([]);
    about.replaceChildren(line("none", "Point at a row, or at a group below."));
  };
  const group = (g) => {
    light([g]);
    about.replaceChildren(...told(g, true));
  };
  const row = (n) => {
    const node = nodes[n];
    light(node.groups);
    rows.forEach((r) => r.classList.toggle("here", +r.dataset.n === n));
    const head = document.createElement("h3");
    head.textContent = soft(node.name) || "the model";
    const facts = [node.kind, ...node.also, node.width].filter(Boolean).join(" · ");
    const fixed = node.reason ? [line("net-fixed", (node.groups.length ? "partly fixed: " : "fixed: ") + node.reason)] : [];
    const list = node.groups.slice(0, 5).flatMap((g) => told(g, node.groups.length === 1));
    const more = node.groups.length > 5 ? [line("", `and ${node.groups.length - 5} more groups`)] : [];
    about.replaceChildren(head, line("", facts), ...fixed, ...list, ...more);
  };
  const show = (what) => {
    net.classList.toggle("idle", what === null);
    if (what === null) rest();
    else if (what.g === undefined) row(what.n);
    else group(what.g);
  };
  const listen = (part, what) => {
    part.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") show(what); });
    part.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "mouse") return;
      rows.forEach((r) => r.classList.remove("here"));
      show(pinned);
    });
    part.addEventListener("click", () => {
      const same = pinned && pinned.n === what.n && pinned.g === what.g;
      pinned = same ? null : what;
      rows.forEach((r) => r.classList.remove("here"));
      show(pinned);
    });
  };
  rows.forEach((part) => listen(part, { n: +part.dataset.n }));
  net.querySelectorAll("button").forEach((button) => {
    listen(button, { g: +button.dataset.group });
    button.addEventListener("focus", () => show({ g: +button.dataset.group }));
    button.addEventListener("blur", () => show(pinned));
  });
  show(null);
});
