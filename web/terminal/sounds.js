// Two sounds that are told apart with the back turned: rising for paid, low and twice for anything else.

const TUNES = {
  PAID: [[660, 0, 0.12], [990, 0.13, 0.22]],
  NOT_PAID: [[180, 0, 0.2], [180, 0.3, 0.2]],
};

let audio = null;

/** Browsers let a page sound once it was touched; the first key of a sale is such a touch. */
export function ready() {
  audio ??= new AudioContext();
  if (audio.state === "suspended") audio.resume().catch(() => {}); // then it is silent: the colour says it all
}

export function play(look) {
  const tune = TUNES[look] ?? TUNES.NOT_PAID;
  document.documentElement.dataset.sound = look === "PAID" ? "paid" : "not-paid";
  if (audio === null || audio.state !== "running") return;
  for (const [pitch, from, lasts] of tune) {
    const [tone, volume] = [audio.createOscillator(), audio.createGain()];
    const start = audio.currentTime + from;
    tone.frequency.value = pitch;
    volume.gain.setValueAtTime(0.25, start);
    volume.gain.linearRampToValueAtTime(0, start + lasts);
    tone.connect(volume).connect(audio.destination);
    tone.start(start);
    tone.stop(start + lasts);
  }
}
