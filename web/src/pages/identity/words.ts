// How identity sources are spoken of.
import type { IdentitySource } from "../../api/gen/quantix/identity/v1/identity_pb";
import type { StatusView } from "../../ui/status";

export type Kind = "oidc" | "ldap";

export const KINDS: Record<Kind, string> = { oidc: "OpenID Connect", ldap: "LDAP directory" };

export function kindOf(source: IdentitySource): Kind {
  return source.config.case ?? "oidc";
}

export function sourceStatus(source: IdentitySource): StatusView {
  return source.enabled ? { tone: "ok", label: "Turned on" } : { tone: "off", label: "Turned off" };
}

/** Where it is reached. */
export function addressesOf(source: IdentitySource): string[] {
  if (source.config.case === "ldap") return source.config.value.urls;
  return source.config.case === "oidc" ? [source.config.value.issuerUrl] : [];
}

const UNITS = [
  { minutes: 1440, one: "day", many: "days" },
  { minutes: 60, one: "hour", many: "hours" },
  { minutes: 1, one: "minute", many: "minutes" },
] as const;

export type Unit = (typeof UNITS)[number]["many"];

export interface Span {
  amount: string;
  unit: Unit;
}

export const UNIT_NAMES: Unit[] = ["minutes", "hours", "days"];

/** In the largest unit that is whole. */
export function spanOf(minutes: number): Span {
  const unit = UNITS.find((u) => minutes >= u.minutes && minutes % u.minutes === 0) ?? UNITS[2];
  return { amount: String(minutes / unit.minutes), unit: unit.many };
}

/** Undefined when it is no amount. */
export function minutesOf({ amount, unit }: Span): number | undefined {
  const factor = UNITS.find((u) => u.many === unit)?.minutes ?? 1;
  const minutes = Number(amount) * factor;
  return amount.trim() !== "" && Number.isInteger(minutes) && minutes > 0 ? minutes : undefined;
}

export function spanText(minutes: number): string {
  const { amount, unit } = spanOf(minutes);
  const word = UNITS.find((u) => u.many === unit);
  return `${amount} ${amount === "1" ? word?.one : unit}`;
}
