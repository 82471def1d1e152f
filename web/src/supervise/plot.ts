import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

export interface Series {
  name: string;
  values: (number | null)[];
  /** A token of the page's colours. */
  colour: string;
  kind: 'left' | 'right' | 'line' | 'dashed';
}

interface PlotOptions {
  /** Seconds since 1970, one for each value. */
  at: number[];
  series: Series[];
  zone: string;
  locale: string;
  width: number;
  height: number;
  /** Which value the pointer is at, or null. */
  pointed: (index: number | null) => void;
}

/** Draws series over a day, in the page's colours as they are now. */
export function draw(into: HTMLElement, o: PlotOptions): uPlot {
  const style = getComputedStyle(into);
  const colour = (token: string) => style.getPropertyValue(token).trim();
  const font = `12px ${style.fontFamily}`;
  const hours = new Intl.DateTimeFormat(o.locale, { hour: 'numeric', timeZone: o.zone });
  const figures = new Intl.NumberFormat(o.locale);
  const axis = { stroke: colour('--muted'), font, grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false } };
  const bars = { left: -1, right: 1 } as const;
  const series: uPlot.Series[] = o.series.map((s) => {
    if (s.kind === 'left' || s.kind === 'right') {
      return {
        label: s.name, fill: colour(s.colour), width: 0, points: { show: false },
        paths: uPlot.paths.bars!({ size: [0.4, 28], align: bars[s.kind], radius: 0.15 }),
      };
    }
    return s.kind === 'dashed'
      ? { label: s.name, stroke: colour(s.colour), width: 1.5, dash: [6, 5], points: { show: false } }
      : { label: s.name, stroke: colour(s.colour), width: 2.5, points: { show: true, size: 7, fill: colour(s.colour) } };
  });
  return new uPlot({
    width: o.width, height: o.height,
    padding: [8, 20, 0, 4],
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, y: false, points: { show: false } },
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), o.zone),
    scales: {
      x: { range: () => [o.at[0]! - 1800, o.at.at(-1)! + 1800] },
      y: { range: (_, __, most) => [0, Math.max(5, most * 1.1)] },
    },
    axes: [
      { ...axis, grid: { show: false }, values: (_, splits) => splits.map((s) => hours.format(s * 1000)), space: 56, size: 30 },
      { ...axis, size: 44, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000], values: (_, splits) => splits.map((s) => figures.format(s)) },
    ],
    series: [{}, ...series],
    hooks: { setCursor: [(u) => o.pointed(u.cursor.idx ?? null)] },
  }, [o.at, ...o.series.map((s) => s.values)], into);
}
