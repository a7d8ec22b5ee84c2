// The people part of the vDC in memory: users, sessions, second factors.
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { FactorKind, FactorSchema, type Factor } from "../api/gen/quantix/factor/v1/factor_pb";
import { FaultCode } from "../api/gen/quantix/fault/v1/fault_pb";
import { SessionFactsSchema, SessionProof, type SessionFacts } from "../api/gen/quantix/session/v1/session_pb";
import { UserSchema, UserSource, type User } from "../api/gen/quantix/user/v1/user_pb";
import { refusal } from "./fake-vdc";

const VERBS = ["rename", "disable", "enable", "reset_password", "clear_factors", "delete"];

/** A local user; verbs in `refused` are not allowed, for the reason given there. */
export function fakeUser(name: string, refused: Record<string, string> = {}): User {
  const allowedActions = VERBS.map((verb) => ({ verb, allowed: !refused[verb], reasonIfNot: refused[verb] ?? "" }));
  return create(UserSchema, { id: `id-${name}`, name, source: UserSource.LOCAL, sessions: 1, allowedActions });
}

export function fakeSession(id: string, browser: string, current = false): SessionFacts {
  const at = timestampFromMs(Date.now());
  return create(SessionFactsSchema, { id, browser, address: "192.0.2.7", proof: SessionProof.PASSWORD, createdAt: at, usedAt: at, expiresAt: timestampFromMs(Date.now() + 3_600_000), current });
}

export class FakePeople {
  users: User[] = [];
  sessions: SessionFacts[] = [];
  factors: Factor[] = [];
  codesLeft = 0;
  ownPassword = "my password";
  /** What an authenticator app shows. */
  code = "123456";
  /** Why no passkey can be used under this page's address. */
  noPasskeys = "";
  /** What browsers answered to questions for passkeys. */
  shown: string[] = [];
  /** What was asked, in words. */
  done: string[] = [];

  #change(id: string, word: string, part: Partial<User>): User {
    const user = this.users.find((u) => u.id === id);
    if (!user) throw refusal(Code.NotFound, { code: FaultCode.NOT_FOUND, message: "There is no such user.", remedy: "Look at the list." });
    this.done.push(`${word} ${user.name}`);
    const changed = { ...user, ...part };
    this.users = this.users.map((u) => (u.id === id ? changed : u));
    return changed;
  }

  #checkAddress() {
    if (this.noPasskeys) throw refusal(Code.FailedPrecondition, { code: FaultCode.PASSKEY_WRONG_ADDRESS, message: this.noPasskeys, remedy: "Open it by its name." });
  }

  /** Lets in whoever shows what a known device makes. */
  checkPasskey(proof: { ceremony: string; credentialJson: string }) {
    this.shown.push(proof.credentialJson);
    const { id } = JSON.parse(proof.credentialJson) as { id: string };
    if (!this.factors.some((f) => f.kind === FactorKind.PASSKEY && f.id === id)) throw refusal(Code.Unauthenticated, { code: FaultCode.PASSKEY_UNKNOWN, message: "This passkey is not known here.", remedy: "Choose another passkey." });
  }

  #prove(password: string) {
    if (password !== this.ownPassword) throw refusal(Code.Unauthenticated, { code: FaultCode.WRONG_CREDENTIALS, message: "The password is not right.", remedy: "Try again.", field: "password" });
  }

  checkCode(code: string) {
    if (code !== this.code) throw refusal(Code.Unauthenticated, { code: FaultCode.SECOND_FACTOR_WRONG, message: "The code is not right, or was used already.", remedy: "Wait for the next code." });
  }

  user() {
    return {
      listUsers: (r: { filter: string }) => {
        const users = this.users.filter((u) => u.name.includes(r.filter));
        return { users, total: BigInt(users.length) };
      },
      createUser: (r: { name: string }) => {
        if (this.users.some((u) => u.name === r.name)) throw refusal(Code.AlreadyExists, { code: FaultCode.NAME_TAKEN, message: `There is a user "${r.name}" already.`, remedy: "Choose another name.", field: "name" });
        const user = fakeUser(r.name);
        this.users.push(user);
        return { user, oneTimePassword: "aaaaa-bbbbb-ccccc-ddddd" };
      },
      renameUser: (r: { id: string; name: string }) => this.#change(r.id, "rename", { name: r.name }),
      setUserDisabled: (r: { id: string; disabled: boolean }) => this.#change(r.id, r.disabled ? "off" : "on", { disabled: r.disabled }),
      resetUserPassword: (r: { id: string }) => ({ user: this.#change(r.id, "reset", {}), oneTimePassword: "eeeee-fffff-ggggg-hhhhh" }),
      clearUserFactors: (r: { id: string }) => this.#change(r.id, "clear", { hasSecondFactor: false }),
      deleteUser: (r: { id: string }) => {
        this.#change(r.id, "delete", {});
        this.users = this.users.filter((u) => u.id !== r.id);
        return {};
      },
      listUserSessions: () => ({ sessions: this.sessions }),
      revokeUserSessions: (r: { sessionId: string }) => {
        this.sessions = r.sessionId ? this.sessions.filter((s) => s.id !== r.sessionId) : [];
        return {};
      },
    };
  }

  factor() {
    return {
      listFactors: () => ({ factors: this.factors, recoveryCodesLeft: this.codesLeft, needsPassword: true, passkeyReasonIfNot: this.noPasskeys }),
      beginPasskey: (r: { name: string; password: string }) => {
        this.#prove(r.password);
        this.#checkAddress();
        return { ceremony: r.name, optionsJson: JSON.stringify({ challenge: "AQID", user: { id: "BAUG", name: "admin", displayName: "admin" }, timeout: 300_000, excludeCredentials: [{ type: "public-key", id: "_-8" }] }) };
      },
      confirmPasskey: (r: { ceremony: string; credentialJson: string }) => {
        this.shown.push(r.credentialJson);
        const { id } = JSON.parse(r.credentialJson) as { id: string };
        const factor = create(FactorSchema, { id, kind: FactorKind.PASSKEY, name: r.ceremony, site: "localhost", createdAt: timestampFromMs(Date.now()) });
        this.factors.push(factor);
        this.codesLeft = 10;
        return { factor, recoveryCodes: this.factors.length === 1 ? ["one-code"] : [] };
      },
      beginTotp: (r: { name: string; password: string }) => {
        this.#prove(r.password);
        return { factorId: r.name, url: "otpauth://totp/x", secret: "JBSWY3DP", qrSvg: "<svg/>" };
      },
      confirmTotp: (r: { factorId: string; code: string }) => {
        this.checkCode(r.code);
        const factor = create(FactorSchema, { id: "f", kind: FactorKind.TOTP, name: r.factorId });
        this.factors.push(factor);
        this.codesLeft = 10;
        return { factor, recoveryCodes: ["one-code", "two-code"] };
      },
      removeFactor: (r: { factorId: string; password: string }) => {
        this.#prove(r.password);
        this.factors = this.factors.filter((f) => f.id !== r.factorId);
        return {};
      },
      makeRecoveryCodes: (r: { password: string }) => {
        this.#prove(r.password);
        return { codes: ["new-code"] };
      },
    };
  }

  session() {
    return {
      beginPasskeyLogin: (r: { challenge: string }) => {
        this.#checkAddress();
        return { ceremony: `for ${r.challenge}`, optionsJson: JSON.stringify({ challenge: "AQID", rpId: "localhost", timeout: 300_000, allowCredentials: r.challenge ? [{ type: "public-key", id: "_-8" }] : [] }) };
      },
      listSessions: () => ({ sessions: this.sessions }),
      revokeSession: (r: { id: string }) => {
        this.sessions = this.sessions.filter((s) => s.id !== r.id);
        return {};
      },
      revokeOtherSessions: () => {
        this.sessions = this.sessions.filter((s) => s.current);
        return {};
      },
    };
  }
}
