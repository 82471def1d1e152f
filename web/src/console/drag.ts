import { draggable, dropTargetForElements } from '@atlaskit/pragmatic-drag-and-drop/element/adapter';

const kind = 'ticket';

/** Lets a row be dragged: an attachment. */
export const dragRow = (id: string, on: { may: () => boolean; began: () => void; ended: () => void }) => (element: HTMLElement) =>
  draggable({
    element,
    canDrag: on.may,
    getInitialData: () => ({ kind, id }),
    onDragStart: on.began,
    onDrop: on.ended,
  });

/** Takes rows that are dropped on a list; `over` tells the height of the pointer in it, or null when it is not there. */
export function dropRows(element: HTMLElement, on: { over: (y: number | null) => void; dropped: (id: string, y: number) => void }) {
  const height = (at: { current: { input: { clientY: number } } }) => at.current.input.clientY - element.getBoundingClientRect().top;
  return dropTargetForElements({
    element,
    canDrop: ({ source }) => source.data.kind === kind,
    onDrag: ({ location }) => on.over(height(location)),
    onDragLeave: () => on.over(null),
    onDrop: ({ source, location }) => {
      on.over(null);
      on.dropped(source.data.id as string, height(location));
    },
  });
}
