// Where the errors are: against length, by speaker, length and voice, of the test set and metric that are chosen.

const chosen = {
  group: Math.max(
    0,
    report.groups.findIndex((group) => group.systems.some((s, i) => !s.ceiling && group.utterances.some((u) => u.clips && u.clips[i]))),
  ),
  metric: 0,
};
const groupNow = () => report.groups[chosen.group];
const onchoice = [];

// Choose a test set or metric, for the charts and for the list of utterances.
function choose(change) {
  if (change.group !== undefined && change.group !== chosen.group) chosen.metric = 0;
  Object.assign(chosen, change);
  showChoice();
  for (const show of onchoice) show();
}

function showChoice() {
  byId('choice').replaceChildren(
    select(
      'Test set',
      report.groups.map((group, i) => [i, `${group.task} · ${group.set}`]),
      chosen.group,
      (value) => choose({ group: Number(value) }),
    ),
    select(
      'Metric',
      groupNow().metrics.map((metric, i) => [i, `${metric} ${arrow(metric)}`]),
      chosen.metric,
      (value) => choose({ metric: Number(value) }),
    ),
  );
}

const spread = (index) => ((index * 0.618034) % 1) - 0.5; // the same for each redraw

function lengthChart(group, metric) {
  const at = group.metrics.indexOf(metric);
  const models = group.systems.map((system, i) => ({ system, i })).filter(({ system }) => !system.ceiling);
  const points = group.utterances
    .flatMap((u, index) => models.map(({ system, i }) => ({ u, index, system, i, value: u.hyps[i].values[at] })))
    .filter((p) => typeof p.value === 'number');
  if (!points.length) return null;
  const lengths = points.map((p) => p.u.length);
  const frame = chart(
    `${metric} against length of the reference, one mark an utterance`,
    { low: Math.min(...lengths) - 0.7, high: Math.max(...lengths) + 0.7, name: 'length of the reference (words or characters)' },
    { low: Math.min(0, ...points.map((p) => p.value)), high: Math.max(...points.map((p) => p.value)) * 1.05 || 1 },
    true,
  );
  for (const { u, index, system, i, value } of points) {
    frame.plot.append(
      marker(i, frame.x(u.length + 0.55 * spread(index)), frame.y(value), {
        class: `point ${seriesOf(system)}`,
        onclick: () => openUtterance(u),
      }),
    );
    frame.plot.lastChild.append(svg('title', null, `${u.id}, ${system.name}: ${metric} ${figure(value)}, length ${u.length}`));
  }
  const cut = group.of > group.utterances.length ? `${group.utterances.length} of ${group.of} utterances. ` : '';
  return el(
    'figure',
    { class: 'card' },
    el(
      'figcaption',
      null,
      el('h3', null, 'Length against error'),
      el('p', { class: 'note' }, `${cut}Each mark is an utterance: choose one to open it.`),
    ),
    legend(models.map(({ system }) => system)),
    frame.node,
  );
}

function showErrors() {
  const group = groupNow();
  const metric = group.metrics[chosen.metric];
  const voices = report.voices[group.task];
  const parts = [lengthChart(group, metric)];
  if (group.speakers.values[metric])
    parts.push(bars('By speaker', group.speakers, metric, group.systems, (speaker) => filterBy({ speaker })));
  if (group.lengths.values[metric]) parts.push(bars('By length of the reference', group.lengths, metric, group.systems));
  if (voices && voices.values[metric]) {
    const names = [
      ...new Set(
        report.groups
          .filter((g) => g.task === group.task)
          .flatMap((g) => g.systems)
          .map((s) => JSON.stringify({ name: s.name, ceiling: s.ceiling })),
      ),
    ];
    parts.push(
      bars(
        'By voice, over all test sets of the task',
        voices,
        metric,
        names.map((name) => JSON.parse(name)),
      ),
    );
  }
  byId('errors-body').replaceChildren(...parts.filter(Boolean));
}
