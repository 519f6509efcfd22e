// Charts as inline SVG, and bars as rows of a list; colours and sizes are the style sheet's.

const BOX = { height: 250, left: 44, right: 20, top: 12, bottom: 42 };

function ticks(low, high, count) {
  const rough = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const found = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-6; value += step)
    found.push(Number(value.toPrecision(12)));
  return found;
}

// An empty chart: {node, plot, x, y}; x and y turn values into places. Its width is that of a phone, or twice as wide as it is high.
function chart(label, xAxis, yAxis, wide) {
  const { height, left, right, top, bottom } = BOX;
  const width = wide && window.matchMedia('(min-width: 45rem)').matches ? 560 : 400;
  const x = (value) => left + ((value - xAxis.low) / (xAxis.high - xAxis.low || 1)) * (width - left - right);
  const y = (value) => height - bottom - ((value - yAxis.low) / (yAxis.high - yAxis.low || 1)) * (height - top - bottom);
  const node = svg('svg', { viewBox: `0 0 ${width} ${height}`, class: 'chart', role: 'img', 'aria-label': label });
  for (const tick of ticks(yAxis.low, yAxis.high, 5)) {
    node.append(
      svg('line', { x1: left, x2: width - right, y1: y(tick), y2: y(tick), class: 'grid' }),
      svg('text', { x: left - 6, y: y(tick) + 4, 'text-anchor': 'end' }, String(tick)),
    );
  }
  for (const tick of ticks(xAxis.low, xAxis.high, 6).filter(Number.isInteger))
    node.append(
      svg('text', { x: x(tick), y: height - bottom + 16, 'text-anchor': 'middle' }, tick >= 10000 ? `${tick / 1000}k` : String(tick)),
    );
  node.append(svg('line', { x1: left, x2: width - right, y1: height - bottom, y2: height - bottom, class: 'axis' }));
  node.append(svg('text', { x: (left + width - right) / 2, y: height - 6, 'text-anchor': 'middle', class: 'axis-name' }, xAxis.name));
  const plot = svg('g');
  node.append(plot);
  return { node, plot, x, y };
}

const path = (points, frame) => points.map(([a, b], i) => `${i ? 'L' : 'M'}${frame.x(a).toFixed(1)} ${frame.y(b).toFixed(1)}`).join('');

function marker(shape, cx, cy, attributes) {
  const r = 3.4;
  if (shape % 3 === 1) return svg('rect', { x: cx - r, y: cy - r, width: 2 * r, height: 2 * r, ...attributes });
  if (shape % 3 === 2)
    return svg('path', { d: `M${cx} ${cy - r * 1.3}L${cx + r * 1.2} ${cy + r}L${cx - r * 1.2} ${cy + r}Z`, ...attributes });
  return svg('circle', { cx, cy, r, ...attributes });
}

function legend(systems) {
  return el(
    'ul',
    { class: 'legend' },
    ...systems.map((system) => el('li', { class: seriesOf(system) }, el('i', { class: 'dot' }), system.name)),
  );
}

// An interval on a line: what the table and the bars show of a value.
function whisker(low, high, value, top, className) {
  const at = (v) => Math.max(0, Math.min(100, (100 * v) / (top || 1)));
  const line = el('span', { class: `whisker ${className}`, 'aria-hidden': 'true' }, el('i', { class: 'fill', '--to': `${at(value)}%` }));
  if (low !== null && low !== undefined) line.append(el('i', { class: 'span', '--from': `${at(low)}%`, '--to': `${at(high)}%` }));
  line.append(el('i', { class: 'value', '--to': `${at(value)}%` }));
  return line;
}

// Bars of a breakdown: for each part of the test set, each system's value with its interval.
function bars(title, broken, metric, systems, onpick) {
  const values = broken.values[metric];
  const shown = systems.filter((system) => values[system.name]);
  const all = shown.flatMap((system) => values[system.name].filter(Boolean).map((v) => v[2]));
  const top = /BLEU|chrF/.test(metric) ? 100 : Math.max(...all) || 1;
  const list = el('ul', { class: 'bars' });
  broken.parts.forEach((part, i) => {
    const name = onpick
      ? el('button', { type: 'button', class: 'link', title: 'show only these utterances', onclick: () => onpick(part.name) }, part.name)
      : el('span', null, part.name);
    const lines = shown
      .filter((system) => values[system.name][i])
      .map((system) => {
        const [value, low, high] = values[system.name][i];
        return el(
          'div',
          { class: 'line', title: `${system.name}: ${figure(value)} (${figure(low)} to ${figure(high)})` },
          whisker(low, high, value, top, seriesOf(system)),
          el('span', { class: 'number' }, el('span', { class: 'unseen' }, `${system.name}: `), figure(value, 1)),
        );
      });
    list.append(
      el('li', null, el('div', { class: 'part' }, name, el('small', null, `n ${part.n}`)), el('div', { class: 'lines' }, ...lines)),
    );
  });
  const cut = broken.of > broken.parts.length ? `The ${broken.parts.length} worst of ${broken.of}. ` : '';
  return el(
    'figure',
    { class: 'card' },
    el('figcaption', null, el('h3', null, title), el('p', { class: 'note' }, `${cut}${metric} ${arrow(metric)}, 95 % intervals`)),
    legend(shown),
    list,
  );
}
