// What the page knows of a group, and how each server-sent event changes it. No document, no network: node runs it too.

const STRIP = 200, SAMPLES = 300, QUIET = 5000;

export const nameOf = (each) => `${each.topic}[${each.partition}]`;

export function emptyModel() {
  return { group: "", revision: 0, partitions: new Map(), hosts: new Map(), drained: new Set(), strip: [], silent: {} };
}

const known = (model, of) => {
  const name = nameOf(of);
  if (!model.partitions.has(name)) {
    model.partitions.set(name, {
      name, topic: of.topic, number: of.partition, state: "unowned", owner: null, token: null, offset: null, end: null,
      lag: null, prepared: null, standbys: [], reason: null, since: null, gap: null, samples: [], unownedAt: null, takingAt: null, litAt: 0,
    });
  }
  return model.partitions.get(name);
};

export function apply(model, name, data, id, now) {
  const how = { snapshot, change, progress, silence }[name];
  if (how) how(model, data, id, now);
}

function snapshot(model, data, id, now) {
  const before = model.partitions;
  model.group = data.group;
  model.revision = data.revision;
  model.silent = data.silent || {};
  model.partitions = new Map();
  for (const each of data.partitions) {
    const made = known(model, each);
    const old = before.get(made.name);
    Object.assign(made, {
      state: each.state, owner: each.owner, token: each.token, offset: each.offset, end: each.end_offset, lag: each.lag,
      prepared: each.prepared, standbys: each.standbys, reason: each.reason, since: each.since, samples: old ? old.samples : [],
      unownedAt: each.state === "unowned" ? (old && old.unownedAt) || now : null,
    });
  }
  model.hosts = new Map(data.hosts.map((each) => [each.host, each]));
  model.drained = new Set(data.hosts.filter((each) => each.draining).map((each) => each.host));
  for (const record of data.history) owned(model, record, now, true);
}

function change(model, data, id, now) {
  model.revision = data.revision;
  const what = { lock, history: (m, d) => d.value && owned(m, { ...d.value, topic: d.topic, partition: d.partition }, now, false),
    host, parked, move, drain }[data.kind];
  if (what) what(model, data, now, id);
}

function lock(model, data, now) {
  const partition = known(model, data);
  if (!data.value) {
    partition.owner = null;
    if (partition.state !== "parked") {
      partition.state = "unowned";
      partition.unownedAt = now;
    }
    return;
  }
  const { host, pid, worker, cause, since } = data.value;
  if (partition.token === data.revision) return;
  const previous = partition.owner ? partition.owner.host : null;
  Object.assign(partition, {
    owner: { host, pid, worker }, token: data.revision, state: "owned", since, reason: null, gap: null,
    takingAt: partition.unownedAt || now, unownedAt: null,
  });
  note(model, `${partition.name} ${data.revision}`, { at: since, partition: partition.name, host, cause, previous,
    token: data.revision, words: began(cause, host, previous) });
}

function owned(model, record, now, quietly) {
  const partition = known(model, record);
  const key = `${partition.name} ${record.token}`;
  const gap = gapOf(record.gap || {});
  if (partition.token === record.token) {
    partition.takingAt = null;
    if (gap !== null && partition.gap === null && !quietly) partition.litAt = now;
    partition.gap = gap === null ? partition.gap : gap;
  }
  const old = model.strip.find((each) => each.key === key);
  note(model, key, {
    at: record.since, partition: partition.name, host: record.host, cause: record.cause, token: record.token,
    words: old ? old.words : began(record.cause, record.host, null), gap, phases: record.gap || {}, ending: record.ending,
    until: record.until, reason: record.reason, step: record.step,
  });
}

// Milliseconds without a record. Without a death it counts from the last commit: on a quiet partition that says nothing.
export function gapOf(phases) {
  if (phases.first_record === undefined) return null;
  if (phases.exit_seen !== undefined) return phases.first_record - phases.exit_seen;
  return phases.first_record < QUIET ? phases.first_record : null;
}

function host(model, data, now, id) {
  const was = model.hosts.get(data.host);
  if (data.value) {
    model.hosts.set(data.host, { ...data.value, host: data.host });
    if (!was) note(model, id, { words: `host ${data.host} is here`, host: data.host, kind: "host" });
    else if (data.value.draining && !was.draining) note(model, id, { words: `host ${data.host} is leaving`, host: data.host, kind: "host" });
  } else if (was) {
    model.hosts.delete(data.host);
    note(model, id, { words: `host ${data.host} is gone`, host: data.host, kind: "trouble" });
  }
}

function parked(model, data, now, id) {
  const partition = known(model, data);
  if (data.value) {
    Object.assign(partition, { state: "parked", reason: data.value.reason, since: data.value.at, unownedAt: null, takingAt: null });
    note(model, id, { partition: partition.name, words: `parked: ${data.value.reason}`, at: data.value.at, kind: "trouble" });
  } else {
    Object.assign(partition, { state: partition.owner ? "owned" : "unowned", reason: null, unownedAt: partition.owner ? null : now });
    note(model, id, { partition: partition.name, words: "resumed" });
  }
}

function move(model, data, now, id) {
  const words = data.value ? `shall move to ${data.value.to}` : "may be anywhere again";
  note(model, id, { partition: nameOf(data), words });
}

function drain(model, data, now, id) {
  if (data.value) model.drained.add(data.host); else model.drained.delete(data.host);
  note(model, id, { words: data.value ? `host ${data.host} is drained` : `host ${data.host} is drained no more`, host: data.host });
}

function progress(model, data, id, now) {
  for (const each of data.partitions) {
    const partition = known(model, each);
    const { offset, end_offset: end, lag, standbys, prepared } = each;
    Object.assign(partition, { offset, end, lag, standbys, prepared });
    if (each.lag !== null) {
      partition.samples.push([now, each.lag]);
      if (partition.samples.length > SAMPLES) partition.samples.shift();
    }
  }
  for (const each of data.gone) model.partitions.delete(nameOf(each));
}

function silence(model, data) {
  model.silent[data.of] = data.error;
}

// One line for each ownership, however often it is told; one for each other event.
function note(model, key, line) {
  const at = model.strip.findIndex((each) => each.key === key);
  if (at >= 0) model.strip[at] = { ...model.strip[at], ...line };
  else model.strip.push({ key, at: new Date().toISOString(), kind: "owner", ...line });
  if (model.strip.length > STRIP) model.strip.splice(0, model.strip.length - STRIP);
}

const began = (cause, who, previous) => {
  const from = previous && previous !== who ? ` from ${previous}` : "";
  if (cause === "taken-over") return `${who} takes over${from}`;
  if (cause === "handed-over") return `${who} is handed it${from ? from.replace("from", "by") : ""}`;
  return `${who} acquires it`;
};

export const duration = (ms) =>
  ms < 1000 ? `${Math.round(ms)} ms` : ms < 120000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 60000)} min`;

export function summary(model) {
  const all = [...model.partitions.values()];
  const count = (state) => all.filter((each) => each.state === state).length;
  const lag = all.reduce((sum, each) => sum + (each.lag || 0), 0);
  const without = all.filter((each) => each.state === "owned" && !each.standbys.length).length;
  return { partitions: all.length, hosts: model.hosts.size, unowned: count("unowned"), parked: count("parked"), lag, without };
}

// Those that match every word, in trouble first when there are many.
export function matching(model, words, many) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [...model.partitions.values()].filter((each) => {
    const text = [each.name, each.state, each.owner ? each.owner.host : "", each.reason || ""].join(" ").toLowerCase();
    return wanted.every((word) => text.includes(word));
  });
  const rank = (each) => (each.state === "unowned" ? 0 : each.state === "parked" ? 1 : each.takingAt ? 2 : 3);
  return found.sort((a, b) =>
    (found.length > many ? rank(a) - rank(b) : 0) || a.topic.localeCompare(b.topic) || a.number - b.number);
}
