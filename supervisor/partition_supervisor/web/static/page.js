// The page: a stream of events from one of the servers, and a picture that is drawn anew when something has changed.

import { apply, duration, emptyModel, gapOf, matching, summary } from "./model.js";

const MANY = 40, LIT = 4000, RETRY = 500;
const model = emptyModel();
const $ = (id) => document.getElementById(id);
let servers = [location.origin], server = 0, lastId = "", stream = null, dirty = true, first = 0, chosen = null, heard = 0;

// index.html has asked for it beside the scripts. What comes after the last change in it is the stream's to tell.
async function begin() {
  try {
    const everything = await (await fetch("api/v1/group")).json();
    lastId = everything.event_id || String(everything.revision); // a server of before has no such id
    apply(model, "snapshot", everything, lastId, Date.now());
    dirty = false;
    draw(Date.now());
  } catch {
    lastId = ""; // the stream begins with everything, here or at another server
  }
  connect();
  frame();
}

function connect() {
  const base = servers[server % servers.length];
  stream = new EventSource(`${base}/api/v1/events${lastId ? `?last-event-id=${lastId}` : ""}`);
  for (const name of ["snapshot", "change", "progress", "silence"]) {
    stream.addEventListener(name, (event) => {
      heard = Date.now();
      if (event.lastEventId) lastId = event.lastEventId;
      apply(model, name, JSON.parse(event.data), event.lastEventId, Date.now());
      dirty = true;
      if (name === "snapshot") requestAnimationFrame(() => { dirty = false; draw(Date.now()); }); // not at the next turn
    });
  }
  stream.onopen = () => say(`live from ${base}`, true);
  stream.onerror = () => {
    stream.close();
    server += 1; // the next one may be there; what was seen last goes along
    model.silent = {}; // who does not answer this one may answer the next, which says so
    dirty = true;
    say("the server is gone; asking the next one", false);
    setTimeout(connect, RETRY);
  };
}

function say(words, live) {
  $("connection").textContent = words;
  $("connection").className = live ? "live" : "lost";
}

const element = (tag, words, kind) => {
  const made = document.createElement(tag);
  if (words !== undefined) made.textContent = words;
  if (kind) made.className = kind;
  return made;
};
const numbers = new Intl.NumberFormat("en"), phone = matchMedia("(max-width: 640px)"); // made once: each takes its time
const number = (value) => (value === null || value === undefined ? "–" : numbers.format(value));

function draw(now) {
  const sums = summary(model);
  $("group").textContent = model.group || "partition-supervisor";
  $("summary").textContent = `${sums.partitions} partitions on ${sums.hosts} hosts, lag ${number(sums.lag)}`;
  const trouble = [];
  if (sums.unowned) trouble.push(`${sums.unowned} without an owner`);
  if (sums.parked) trouble.push(`${sums.parked} parked`);
  if (sums.without) trouble.push(`${sums.without} without a standby`);
  for (const [who, error] of Object.entries(model.silent)) if (error) trouble.push(`${who} does not answer: ${error}`);
  $("trouble").hidden = !trouble.length;
  $("trouble").textContent = trouble.join(" · ");
  grid(now);
  strip();
  if (chosen) facts();
}

function grid(now) {
  const found = matching(model, $("words").value, MANY);
  first = Math.max(0, Math.min(first, Math.floor((found.length - 1) / MANY) * MANY));
  const shown = found.slice(first, first + MANY);
  for (const id of ["earlier", "later", "range"]) $(id).hidden = found.length <= MANY;
  $("range").textContent = `${first + 1} to ${first + shown.length} of ${found.length}`;
  $("earlier").disabled = first === 0;
  $("later").disabled = first + MANY >= found.length;
  const hosts = [...new Set([...model.hosts.keys(), ...shown.flatMap((p) => (p.owner ? [p.owner.host] : []))])].sort();
  const table = element("table");
  const narrow = phone.matches;
  const head = element("tr");
  head.append(element("th", narrow ? "Partition" : "Host"));
  if (narrow) {
    head.append(element("th", "Owner"), element("th", "Standbys"));
    table.append(head);
    for (const each of shown) {
      const row = element("tr");
      const cell = element("td");
      cell.append(ownerCell(each, now));
      row.append(title(each, "row"), cell, element("td", each.standbys.map((s) => s.host).join(", ") || "–"));
      table.append(row);
    }
  } else {
    for (const each of shown) head.append(title(each, "col"));
    table.append(head);
    const nobody = element("tr");
    if (shown.some((each) => each.state !== "owned")) {
      nobody.append(element("th", "nobody"));
      for (const each of shown) {
        const cell = element("td");
        if (each.state !== "owned") cell.append(ownerCell(each, now));
        nobody.append(cell);
      }
      table.append(nobody);
    }
    for (const host of hosts) {
      const row = element("tr");
      row.append(hostTitle(host));
      for (const each of shown) row.append(cellOf(each, host, now));
      table.append(row);
    }
  }
  table.id = "grid";
  $("grid").replaceWith(table);
}

function title(each, scope) {
  const made = element("th");
  made.scope = scope;
  const button = element("button", each.name);
  button.type = "button";
  button.dataset.partition = each.name;
  made.append(button);
  return made;
}

function hostTitle(host) {
  const known = model.hosts.get(host);
  const made = element("th", host);
  made.scope = "row";
  if (!known) made.append(element("small", "gone"));
  else if (known.draining || model.drained.has(host)) made.append(element("small", "draining"));
  else if (known.able === false) made.append(element("small", "given nothing"));
  return made;
}

function cellOf(each, host, now) {
  const cell = element("td");
  if (each.state === "owned" && each.owner && each.owner.host === host) cell.append(ownerCell(each, now));
  const waiting = each.standbys.filter((standby) => standby.host === host).length;
  if (waiting) cell.append(element("span", waiting > 1 ? `○ ${waiting} standbys` : "○ standby", "standby cell"));
  return cell;
}

function ownerCell(each, now) {
  if (each.state === "parked") return element("span", "‖ parked", "parked cell");
  if (each.state === "unowned") {
    return element("span", `✕ ${duration(now - (each.unownedAt || now))}`, "unowned cell");
  }
  if (each.takingAt) return element("span", `◐ ${each.owner.host} ${duration(now - each.takingAt)}`, "taking cell");
  const lit = now - each.litAt < LIT;
  const made = element("span", `● ${phone.matches ? each.owner.host : `token ${each.token}`}`,
    lit ? "owner cell lit" : "owner cell");
  made.append(element("small", lit && each.gap !== null ? `after ${duration(each.gap)}` : `lag ${number(each.lag)}`));
  made.title = `pid ${each.owner.pid}`;
  return made;
}

function strip() {
  const newest = [...model.strip].sort((a, b) => (a.at < b.at ? 1 : a.at > b.at ? -1 : 0)).slice(0, 60);
  const lines = newest.map((each) => {
    const line = element("li", undefined, each.kind === "trouble" ? "trouble" : each.cause || "");
    line.append(element("time", clock(each.at)), element("b", each.partition || ""), element("span", each.words));
    if (each.gap !== null && each.gap !== undefined) line.append(element("em", `first record after ${duration(each.gap)}`));
    if (each.step) line.append(element("i", `${each.step.replace(" ", " step ")} with outputs`));
    if (each.ending === "died") line.append(element("i", "died later"));
    if (each.ending === "not-taken") line.append(element("i", "did not take it"));
    return line;
  });
  $("strip").replaceChildren(...lines);
}

const clock = (at) => {
  const moment = new Date(at);
  return isNaN(moment) ? String(at || "") : moment.toTimeString().slice(0, 8) + "." + String(moment.getMilliseconds()).padStart(3, "0");
};

async function choose(name) {
  chosen = name;
  $("detail").hidden = !name;
  if (!name) return;
  const each = model.partitions.get(name);
  $("detail-title").textContent = name;
  $("timeline").replaceChildren();
  dirty = true;
  $("detail").scrollIntoView({ block: "nearest" });
  const base = servers[server % servers.length];
  const answer = await fetch(`${base}/api/v1/partitions/${encodeURIComponent(each.topic)}/${each.number}/history`);
  const told = await answer.json();
  if (chosen !== name) return;
  $("timeline").replaceChildren(...(told.history || []).reverse().map((record) => {
    const gap = gapOf(record.gap);
    const words = `${clock(record.since)}  ${record.host} (pid ${record.pid}), ${record.cause}, token ${record.token}`;
    const line = element("li", words);
    if (gap !== null) line.append(element("em", `gap ${duration(gap)}`));
    if (record.step) line.append(element("small", `its predecessor's step with outputs: ${record.step}`));
    if (record.until) line.append(element("small", `until ${clock(record.until)}: ${record.ending}`));
    return line;
  }));
}

function facts() {
  const each = model.partitions.get(chosen);
  if (!each) return;
  const rows = [["state", each.state], ["owner", each.owner ? `${each.owner.host}, pid ${each.owner.pid}` : "nobody"],
    ["token", number(each.token)], ["offset", number(each.offset)], ["end", number(each.end)], ["lag", number(each.lag)],
    ["standbys", each.standbys.map((s) => `${s.host} (pid ${s.pid})`).join(", ") || "none"]];
  if (each.prepared) rows.push(["outputs", `step ${each.prepared.step}, prepared ${clock(each.prepared.since)}`]);
  if (each.reason) rows.push(["reason", each.reason]);
  if (each.state === "parked") rows.push(["to go on", `partition-supervisor resume '${each.name}'`]);
  $("facts").replaceChildren(...rows.flatMap(([name, value]) => [element("dt", name), element("dd", String(value))]));
  const top = Math.max(1, ...each.samples.map((sample) => sample[1]));
  const until = Date.now(), from = until - 300000;
  const points = each.samples.filter((s) => s[0] >= from)
    .map(([at, lag]) => `${(((at - from) / 300000) * 600).toFixed(1)},${(78 - (lag / top) * 74).toFixed(1)}`).join(" ");
  const drawn = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  drawn.setAttribute("points", points);
  $("lag").replaceChildren(drawn);
  $("lag-words").textContent = `now ${number(each.lag)}, at most ${number(top)}`;
}

$("words").addEventListener("input", () => { first = 0; dirty = true; });
$("filter").addEventListener("submit", (event) => event.preventDefault());
$("earlier").addEventListener("click", () => { first -= MANY; dirty = true; });
$("later").addEventListener("click", () => { first += MANY; dirty = true; });
$("close").addEventListener("click", () => choose(null));
document.addEventListener("keydown", (event) => { if (event.key === "Escape") choose(null); });
document.addEventListener("click", (event) => {
  const partition = event.target.dataset && event.target.dataset.partition;
  if (partition) choose(partition);
});

function frame() {
  const now = Date.now();
  const running = [...model.partitions.values()].some((p) => p.unownedAt || p.takingAt || now - p.litAt < LIT + 200);
  const busy = document.activeElement && document.activeElement.dataset && document.activeElement.dataset.partition;
  if (dirty || running) {
    dirty = false;
    draw(now);
    if (busy) document.querySelector(`[data-partition="${CSS.escape(busy)}"]`)?.focus();
  }
  setTimeout(() => requestAnimationFrame(frame), running ? 50 : 100);
}

begin(); // what the other servers are is known before this one is gone
fetch("api/v1/about").then((answer) => answer.json()).then((about) => {
  servers = [location.origin, ...about.others];
}).catch(() => {});
