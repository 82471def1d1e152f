const lasting = 240; // ms
const still = matchMedia('(prefers-reduced-motion: reduce)');

/** Whether rows may be seen moving. */
export const moves = () => !still.matches;

/** Lets a row be seen on its way from one height to another; both in px from the list's top. */
export function glide(row: HTMLElement, from: number, to: number) {
  row.animate(
    [{ transform: `translateY(${from}px)` }, { transform: `translateY(${to}px)` }],
    { duration: lasting, easing: 'cubic-bezier(.2, .8, .3, 1)' },
  );
}

export function appear(row: HTMLElement) {
  row.animate([{ opacity: 0 }, { opacity: 1 }], { duration: lasting });
}

export const goneBy = lasting + 40;
