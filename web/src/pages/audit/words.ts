// The audit log in words: what was done, by what kind of caller, and days as the log is asked for them.

/** Said otherwise than their names spell. */
const ACTIONS: Record<string, string> = {
  "session.v1.SessionService/Login": "Sign in",
  "session.v1.SessionService/Logout": "Sign out",
  "/api/v1/sign-in/oidc/callback": "Sign in at a provider",
  "role.v1.RoleService/Grant": "Give role",
  "role.v1.RoleService/Revoke": "Take role away",
  "audit.v1.AuditService/ListAudit": "Read audit log",
  "audit.v1.AuditService/VerifyAudit": "Check audit log",
};
const SPELLED: Record<string, string> = { vm: "VM", vms: "VMs", api: "API", cpu: "CPU", ca: "CA", tls: "TLS", totp: "TOTP" };

/** `vm.v1.VmService/PowerVm` as "Power VM"; what is no call stays as it is. */
export function actionText(action: string): string {
  const known = ACTIONS[action];
  if (known) return known;
  const verb = /^[a-z_.\d]+\.[A-Za-z]+Service\/([A-Z][A-Za-z\d]*)$/.exec(action)?.[1];
  if (!verb) return action;
  const words = verb.split(/(?=[A-Z])/).map((word) => SPELLED[word.toLowerCase()] ?? word.toLowerCase());
  const text = words.join(" ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

const ACTORS: Record<string, string> = {
  person: "person",
  token: "API token",
  host: "host",
  nobody: "not signed in",
  root: "root on the vDC's machine",
};

export function actorKindText(kind: string): string {
  return ACTORS[kind] ?? kind;
}

/** `identity_source` as "identity source". */
export function objectKindText(kind: string): string {
  return SPELLED[kind] ?? kind.replaceAll("_", " ");
}

const DAY = /^(\d{4})-(\d{2})-(\d{2})$/;

/** Where a day begins in the reader's zone, and where the next one does; undefined when it is no day. */
export function dayOf(text: string | undefined): { start: number; end: number } | undefined {
  const [, year, month, day] = (DAY.exec(text ?? "") ?? []).map(Number);
  if (year === undefined || month === undefined || day === undefined) return undefined;
  const start = new Date(year, month - 1, day);
  // The 31st of a shorter month is no day.
  if (start.getMonth() !== month - 1) return undefined;
  return { start: start.getTime(), end: new Date(year, month - 1, day + 1).getTime() };
}
