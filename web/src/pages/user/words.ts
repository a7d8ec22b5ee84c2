// Words for people and their sessions.
import { SessionProof, type SessionFacts } from "../../api/gen/quantix/session/v1/session_pb";
import { UserSource, type User } from "../../api/gen/quantix/user/v1/user_pb";
import type { StatusView } from "../../ui/status";

export function userStatus(user: User): StatusView {
  if (user.disabled) return { tone: "off", label: "Turned off" };
  if (user.mustChangePassword) return { tone: "work", label: "One-time password" };
  return { tone: "ok", label: "May sign in" };
}

export const SOURCES: Record<UserSource, string> = {
  [UserSource.UNSPECIFIED]: "unknown",
  [UserSource.LOCAL]: "This vDC",
  [UserSource.OIDC]: "OpenID Connect",
  [UserSource.LDAP]: "LDAP directory",
};

export const PROOFS: Record<SessionProof, string> = {
  [SessionProof.UNSPECIFIED]: "unknown",
  [SessionProof.PASSWORD]: "Password",
  [SessionProof.TOTP]: "Password and app",
  [SessionProof.RECOVERY_CODE]: "Password and recovery code",
  [SessionProof.PASSKEY]: "Passkey",
  [SessionProof.OIDC]: "OpenID Connect",
};

export function sessionName(session: SessionFacts): string {
  return `${session.browser || "Unknown program"} at ${session.address}`;
}
