// Players: a recording with its spectrogram. One plays at a time.

let playing = null;

function silence() {
  if (playing) playing.pause();
}

function start(audio) {
  if (playing && playing !== audio) playing.pause();
  playing = audio;
  audio.play().catch((error) => {
    if (error.name !== 'AbortError') audio.dispatchEvent(new Event('error'));
  });
}

const toggle = (audio) => (audio.paused ? start(audio) : audio.pause());
const audioOf = (clip) => el('audio', { preload: 'none', src: `audio/${clip}.mp3` });

// A player of a clip; `longest` is the length in seconds that fills its width, so that clips side by side have one time scale.
function player(name, clip, longest, number) {
  const sec = report.clips[clip];
  const audio = audioOf(clip);
  const time = el('span', { class: 'time' }, `${sec.toFixed(1)} s`);
  const button = el('button', {
    type: 'button',
    class: 'play',
    'aria-label': `Play ${name}`,
    'data-number': number,
    onclick: () => toggle(audio),
  });
  const position = el('input', {
    type: 'range',
    min: 0,
    max: sec,
    step: 0.01,
    value: 0,
    'aria-label': `Position in ${name}`,
    oninput: () => seek(Number(position.value)),
  });
  const picture = el('img', { src: `audio/${clip}.webp`, alt: `Spectrogram of ${name}`, loading: 'lazy', draggable: 'false' });
  const cursor = el('i', { class: 'cursor' });
  const view = el('div', { class: 'view', '--part': `${Math.max(8, (100 * sec) / longest)}%` }, picture, cursor);
  view.addEventListener('click', (event) => {
    const box = view.getBoundingClientRect();
    seek((sec * (event.clientX - box.left)) / box.width);
    start(audio);
  });

  function show() {
    position.value = audio.currentTime;
    cursor.style.setProperty('left', `${Math.min(100, (100 * audio.currentTime) / sec)}%`);
    time.textContent = audio.currentTime ? `${audio.currentTime.toFixed(1)} / ${sec.toFixed(1)} s` : `${sec.toFixed(1)} s`;
    if (!audio.paused) requestAnimationFrame(show);
  }
  function seek(to) {
    audio.currentTime = to;
    show();
  }
  function mark() {
    box.classList.toggle('on', !audio.paused);
    button.setAttribute('aria-label', `${audio.paused ? 'Play' : 'Pause'} ${name}`);
    show();
  }
  for (const event of ['play', 'pause', 'ended']) audio.addEventListener(event, mark);
  audio.addEventListener('error', () => {
    time.textContent = 'cannot be played';
  });
  const box = el(
    'figure',
    { class: 'clip' },
    el('figcaption', null, el('span', null, name), number <= 9 && el('kbd', null, String(number))),
    el('div', { class: 'frame' }, view),
    el('div', { class: 'transport' }, button, position, time),
    audio,
  );
  return box;
}
