// Making a token, showing it once, and revoking it.
import { useState } from "react";
import { methodKey } from "../../api/cache";
import { useApi, useClient } from "../../api/context";
import { ApiTokenService, type ApiToken, type CreateApiTokenResponse } from "../../api/gen/quantix/token/v1/token_pb";
import { mayOf, useSession } from "../../api/session";
import { Confirm, Dialog } from "../../ui/dialog";
import { SelectField, TextField } from "../../ui/field";
import { Copyable, Loading } from "../../ui/parts";
import { useRun } from "../../ui/run";
import { StatusIcon } from "../../ui/status";
import { Age } from "../../ui/time";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { PermissionFields } from "../role/permission-fields";
import { NAME_HELP } from "../role/role-dialogs";
import { EVERYTHING, ScopeField, scopeOf } from "../role/scope-field";
import { useRoles } from "../role/words";
import { exampleFor, LIVES } from "./words";

function useReread(): () => void {
  const { queries } = useApi();
  return () => void queries.invalidateQueries({ queryKey: methodKey(ApiTokenService.method.listApiTokens) });
}

export function CreateToken({ onClose }: { onClose: () => void }) {
  const client = useClient(ApiTokenService);
  const reread = useReread();
  const session = useSession().data;
  const all = useRoles().data?.permissions;
  const [name, setName] = useState("");
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [scope, setScope] = useState(EVERYTHING);
  const [days, setDays] = useState("90");
  const [made, setMade] = useState<CreateApiTokenResponse>();
  const { busy, fault, run } = useRun(reread);
  const sent = scopeOf(scope);
  if (made) return <Made made={made} onClose={onClose} />;
  const may = mayOf(session);
  const permissions = all?.filter((p) => may(p.word)) ?? [];
  const create = () =>
    run(async () => setMade(await client.createApiToken({ name: name.trim(), permissions: permissions.map((p) => p.word).filter((word) => chosen.has(word)), scope: sent, days: Number(days) })));
  const part = (word: string) => (scope.kind === "everything" && !session?.permissions.includes(word) ? "You have it on some things only: choose one of them below." : "");
  return (
    <Dialog
      title="Create API token"
      note="With it a program acts for you. It may what you choose here, and never more than you may yourself."
      submit="Create token"
      busy={busy}
      disabled={name.trim() === "" || chosen.size === 0 || !sent}
      fault={fault}
      onSubmit={create}
      onClose={onClose}
    >
      <TextField label="Name" help={`What uses it, for example backup. ${NAME_HELP}.`} value={name} onChange={(_, v) => setName(v)} autoFocus autoComplete="off" spellCheck={false} />
      {all ? <PermissionFields permissions={permissions} chosen={chosen} onChange={setChosen} refused={part} /> : <Loading label="permissions" />}
      <ScopeField value={scope} onChange={setScope} />
      <SelectField label="Ends after" value={days} onChange={setDays} options={[...LIVES]} />
      {days === "0" && (
        <p className="q-warning">
          <StatusIcon tone="warn" /> Whoever finds a token that never ends can use it until somebody revokes it. Better give it an end, and make a
          new one then.
        </p>
      )}
    </Dialog>
  );
}

/** The one time the token is shown. */
function Made({ made, onClose }: { made: CreateApiTokenResponse; onClose: () => void }) {
  const token = made.apiToken;
  return (
    <Dialog title={`Token "${token?.name ?? ""}" is made`} submit="I have kept it" isSticky onSubmit={onClose} onClose={onClose}>
      <p>
        <strong>This is the only time it is shown.</strong> The vDC keeps only what it needs to recognise it. Put it where your program reads its
        secrets from, not into a script.
      </p>
      <div className="q-secret">
        <Copyable text={made.secret} label="token" />
      </div>
      <p>To try it, with the token in the variable QUANTIX_TOKEN:</p>
      <div className="q-secret">
        <Copyable text={exampleFor(token?.permissions ?? [], window.location.origin)} label="example" />
      </div>
    </Dialog>
  );
}

export function RevokeToken({ token, onClose }: { token: ApiToken; onClose: () => void }) {
  const client = useClient(ApiTokenService);
  const reread = useReread();
  const { busy, fault, run } = useRun(() => {
    reread();
    onClose();
  });
  const own = useSession().data?.userId === token.userId;
  return (
    <Confirm
      title={own ? `Revoke token "${token.name}"?` : `Revoke token "${token.name}" of ${token.userName}?`}
      verb="Revoke token"
      busy={busy}
      fault={fault}
      onConfirm={() => run(() => client.revokeApiToken({ id: token.id }))}
      onClose={onClose}
    >
      <p>Programs that use it are refused from their next call on. It cannot be brought back.</p>
      <p className="q-muted">
        {token.usedAt ? (
          <>
            Last used <Age at={timestampMs(token.usedAt)} /> from {token.usedFrom}.
          </>
        ) : (
          "It was never used."
        )}
      </p>
    </Confirm>
  );
}
