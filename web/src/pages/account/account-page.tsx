// My account: password, second factors, sessions.
import { useQuery } from "@connectrpc/connect-query";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Button } from "@patternfly/react-core";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import { FactorKind, FactorService, type Factor } from "../../api/gen/quantix/factor/v1/factor_pb";
import { SessionService } from "../../api/gen/quantix/session/v1/session_pb";
import { whyNoPasskeys } from "../../api/passkey";
import { useSession } from "../../api/session";
import { FaultPanel } from "../../ui/fault";
import { ActionButton, Card, Loading, PageTitle } from "../../ui/parts";
import { useRun } from "../../ui/run";
import { Age } from "../../ui/time";
import { SessionTable } from "../user/session-table";
import { AddTotpDialog, MakeCodesDialog, RemoveFactorDialog } from "./factor-dialogs";
import { AddPasskeyDialog } from "./passkey-dialog";

type Open = { kind: "totp" } | { kind: "passkey" } | { kind: "codes" } | { kind: "remove"; factor: Factor };

const KINDS: Record<FactorKind, string> = {
  [FactorKind.UNSPECIFIED]: "unknown",
  [FactorKind.TOTP]: "Authenticator app",
  [FactorKind.PASSKEY]: "Passkey",
};

export function AccountPage() {
  const session = useSession();
  return (
    <>
      <PageTitle title="My account" note={session.data?.userName} />
      <div className="q-stack">
        <Card title="Password">
          {session.data?.hasPassword ? (
            <p>
              <Link to="/change-password">Change password</Link>
            </p>
          ) : (
            <p className="q-muted">Your password is kept by the provider or directory you sign in with; change it there.</p>
          )}
        </Card>
        <Factors isLocal={session.data?.hasPassword ?? true} />
        <Sessions />
      </div>
    </>
  );
}

function Factors({ isLocal }: { isLocal: boolean }) {
  const query = useQuery(FactorService.method.listFactors, {});
  const [open, setOpen] = useState<Open>();
  if (query.error) return <FaultPanel fault={faultOf(query.error)} onRetry={() => void query.refetch()} />;
  const factors = query.data?.factors ?? [];
  const needsPassword = query.data?.needsPassword ?? true;
  const props = { needsPassword, onDone: () => void query.refetch(), onClose: () => setOpen(undefined) };
  const left = query.data?.recoveryCodesLeft ?? 0;
  const noPasskeys = whyNoPasskeys() || (query.data?.passkeyReasonIfNot ?? "");
  return (
    <Card
      title="Second factors"
      aside={
        <div className="q-actions">
          <ActionButton action={{ verb: "passkey", allowed: noPasskeys === "", reasonIfNot: noPasskeys }} onClick={() => setOpen({ kind: "passkey" })}>
            Add passkey
          </ActionButton>
          <Button size="sm" variant="secondary" onClick={() => setOpen({ kind: "totp" })}>
            Add authenticator app
          </Button>
        </div>
      }
    >
      {!query.data && <Loading label="second factors" lines={2} />}
      {query.data && factors.length === 0 && (
        <p>
          {isLocal
            ? "None. Your password alone opens everything here; an authenticator app or a passkey makes a stolen password useless."
            : "None here. Your account at the provider or directory alone opens everything; an authenticator app or a passkey is asked for beside it."}
        </p>
      )}
      {factors.length > 0 && (
        <ul className="q-plain" aria-label="Second factors">
          {factors.map((f) => (
            <li key={f.id}>
              <strong>{f.name}</strong>{" "}
              <span className="q-muted">
                {KINDS[f.kind]}
                {f.reasonIfNotHere !== "" && ` made for ${f.site}`} · added <Age at={f.createdAt && timestampMs(f.createdAt)} /> · last used{" "}
                {f.usedAt ? <Age at={timestampMs(f.usedAt)} /> : "never"}
              </span>{" "}
              <Button variant="link" isInline size="sm" aria-label={`Remove ${f.name}`} onClick={() => setOpen({ kind: "remove", factor: f })}>
                Remove
              </Button>
            </li>
          ))}
        </ul>
      )}
      {factors.length > 0 && (
        <p>
          {left === 0 ? "No recovery code is left." : `${left} recovery ${left === 1 ? "code is" : "codes are"} left.`}{" "}
          <Button variant="link" isInline size="sm" onClick={() => setOpen({ kind: "codes" })}>
            Make new codes
          </Button>
        </p>
      )}
      {open?.kind === "totp" && <AddTotpDialog {...props} />}
      {open?.kind === "passkey" && <AddPasskeyDialog {...props} />}
      {open?.kind === "codes" && <MakeCodesDialog {...props} />}
      {open?.kind === "remove" && <RemoveFactorDialog factor={open.factor} {...props} />}
    </Card>
  );
}

function Sessions() {
  const client = useClient(SessionService);
  const query = useQuery(SessionService.method.listSessions, {});
  const { busy, fault, run } = useRun(() => void query.refetch());
  const rows = query.data?.sessions;
  const others = (rows ?? []).filter((s) => !s.current).length;
  return (
    <Card
      title="Sessions"
      aside={
        others > 0 && (
          <Button size="sm" variant="secondary" isDisabled={busy} onClick={() => run(() => client.revokeOtherSessions({}))}>
            End all others
          </Button>
        )
      }
    >
      {fault && <FaultPanel fault={fault} />}
      {query.error ? (
        <FaultPanel fault={faultOf(query.error)} onRetry={() => void query.refetch()} />
      ) : (
        <SessionTable sessions={rows} busy={busy} onRevoke={(s) => run(() => client.revokeSession({ id: s.id }))} />
      )}
    </Card>
  );
}
