/** Two notes of a gong, and how long it is before the next may follow. Seconds. */
const notes = [{ hertz: 659.26, at: 0.15, lasts: 1.1 }, { hertz: 523.25, at: 0.6, lasts: 1.5 }];
const whole = 2;
const patience = 3_000; // ms for a sound device to wake

/**
 * The sound of a call. Browsers let a page sound only after somebody has
 * pressed something in it, unless they are set up for a wall.
 */
class Sound {
  /** Whether a sound would be heard. */
  ready = $state(false);
  #context: AudioContext | null = null;

  #looked: Promise<void> | null = null;

  /** Finds out, once, whether the browser lets this page sound without a press. */
  look() { return (this.#looked ??= this.#look()); }

  async #look() {
    // What is asked for here has nothing to play: it is refused at once, or never answered.
    const refused = new Audio().play().then(() => false, (e: DOMException) => e.name === 'NotAllowedError');
    const late = new Promise<boolean>((done) => setTimeout(done, 300, false));
    if (!(await Promise.race([refused, late]))) await this.unlock();
  }

  /** To be called when somebody has pressed a button. */
  async unlock() {
    this.#context ??= new AudioContext();
    const context = this.#context;
    context.onstatechange = () => { this.ready = context.state === 'running'; };
    await Promise.race([context.resume(), new Promise((done) => setTimeout(done, patience))]).catch(() => {});
    this.ready = context.state === 'running';
  }

  /** Sounds the gong; done when it has faded. */
  async chime() {
    if (!this.#context) return;
    if (this.#context.state !== 'running') await this.unlock(); // after a sleep
    if (!this.ready) return;
    const context = this.#context;
    for (const { hertz, at, lasts } of notes) {
      const begin = context.currentTime + at;
      const volume = context.createGain();
      volume.gain.setValueAtTime(0, begin);
      volume.gain.linearRampToValueAtTime(0.5, begin + 0.01);
      volume.gain.exponentialRampToValueAtTime(0.001, begin + lasts);
      const tone = context.createOscillator();
      tone.frequency.value = hertz;
      tone.connect(volume).connect(context.destination);
      tone.start(begin);
      tone.stop(begin + lasts);
    }
    await new Promise((done) => setTimeout(done, whole * 1000));
  }
}

export const sound = new Sound();
