import { seen } from './order';

const rem = 3.5; // a row's height, as the style has it

/** Which rows of a long list are in sight, wherever it is scrolled: in a frame of its own or with the page. */
export class Sight {
  /** Rows beyond those in sight that are there too. */
  readonly more = 6;
  rowPx = $state(rem * 16);
  first = $state(0);
  /** Behind the last one. */
  last = $state(30);
  // What is in sight, in px from the list's top: measured when it is scrolled, for measuring takes long while much changes.
  top = 0;
  bottom = innerHeight;
  #scrolledTo = 0;
  #scroller!: HTMLElement;
  #list!: HTMLElement;

  /** Watches a list; gives how to stop. */
  watch(scroller: HTMLElement, list: HTMLElement, count: () => number): () => void {
    this.#scroller = scroller;
    this.#list = list;
    const look = () => this.#look(count());
    const measure = () => {
      this.rowPx = rem * parseFloat(getComputedStyle(document.documentElement).fontSize);
      look();
    };
    const size = new ResizeObserver(measure);
    size.observe(scroller);
    addEventListener('scroll', look, { capture: true, passive: true });
    addEventListener('resize', measure);
    return () => {
      size.disconnect();
      removeEventListener('scroll', look, { capture: true });
      removeEventListener('resize', measure);
    };
  }

  #look(count: number) {
    const around = this.#scroller.getBoundingClientRect();
    const { top } = this.#list.getBoundingClientRect();
    this.top = Math.max(0, around.top) - top;
    this.bottom = Math.min(innerHeight, around.bottom) - top;
    this.#scrolledTo = this.#frame().scrollTop;
    this.draw(count);
  }

  #frame() {
    return getComputedStyle(this.#scroller).overflowY === 'auto' ? this.#scroller : document.scrollingElement!;
  }

  draw(count: number) {
    [this.first, this.last] = seen(this.top, this.bottom, this.rowPx, count, this.more);
  }

  /** Follows a line that has shifted under the one who reads it. */
  follow(by: number) {
    if (by === 0) return;
    // From where it was: a list that is shorter now may have been pushed up already.
    this.#frame().scrollTop = this.#scrolledTo + by;
    this.top += by;
    this.bottom += by;
  }

  /** How many rows a page is. */
  get page() { return Math.max(1, Math.floor((this.bottom - this.top) / this.rowPx) - 1); }
}
