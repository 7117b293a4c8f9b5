// Numbers and times as people read them.
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });

export function clock(unix) {
  return new Date(unix * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

export function age(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

export function value(number, unit) {
  switch (unit) {
    case "share": return `${plain.format(number * 100)} %`;
    case "s": return number < 1 ? `${plain.format(number * 1000)} ms` : number < 120 ? `${plain.format(number)} s` : age(number);
    case "bytes": return `${plain.format(number / 2 ** 20)} MiB`;
    default: return Math.abs(number) >= 10_000 ? compact.format(number) : plain.format(number);
  }
}
