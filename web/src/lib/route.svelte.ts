/** Where the browser is within the pages. */
class Route {
  path = $state(location.pathname);
  constructor() {
    addEventListener('popstate', () => { this.path = location.pathname; });
  }

  go(path: string) {
    history.pushState(null, '', path);
    this.path = location.pathname;
    scrollTo(0, 0);
  }
}

export const route = new Route();

/** Follows a link to another page without loading all anew; modified clicks stay the browser's. */
export function within(e: MouseEvent & { currentTarget: HTMLAnchorElement }) {
  if (e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
  e.preventDefault();
  route.go(e.currentTarget.pathname);
}
