// Numbers with units, in the binary units that memory and disks are sold and counted in here.
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] as const;

export function formatBytes(value: bigint | number): string {
  let n = Number(value);
  let unit = 0;
  while (n >= 1024 && unit < UNITS.length - 1) {
    n /= 1024;
    unit += 1;
  }
  const text = unit === 0 || n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2);
  return `${text.replace(/\.0+$|(\.\d*?)0+$/, "$1")} ${UNITS[unit]}`;
}

export function formatRate(bytesPerSecond: number): string {
  return `${formatBytes(bytesPerSecond)}/s`;
}

export function formatRatio(ratio: number): string {
  const percent = ratio * 100;
  return `${percent > 0 && percent < 1 ? "<1" : Math.round(percent)} %`;
}

export function formatCount(n: number | bigint, one: string, many = `${one}s`): string {
  return `${Number(n).toLocaleString("en")} ${Number(n) === 1 ? one : many}`;
}

export const GIB = 1024 ** 3;
export const MIB = 1024 ** 2;
