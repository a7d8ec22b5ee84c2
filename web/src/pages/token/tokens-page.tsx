// Tokens with which programs act for a person.
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Button, Checkbox } from "@patternfly/react-core";
import { useQuery } from "@connectrpc/connect-query";
import { lazy, Suspense, useState } from "react";
import { faultOf } from "../../api/fault";
import { ApiTokenService, type ApiToken } from "../../api/gen/quantix/token/v1/token_pb";
import { useRight, useSession } from "../../api/session";
import { usePageState } from "../../shell/page-state";
import { ActionButton, Empty, PageTitle, type Allowed } from "../../ui/parts";
import { Status } from "../../ui/status";
import { DataTable, type Column } from "../../ui/table";
import { Age, useNow } from "../../ui/time";
import { PermissionList } from "../role/permission-fields";
import { ScopeView } from "../role/scope-field";
import { useTexts } from "../role/words";
import { endOf } from "./words";

const CreateToken = lazy(() => import("./token-dialogs").then((m) => ({ default: m.CreateToken })));
const RevokeToken = lazy(() => import("./token-dialogs").then((m) => ({ default: m.RevokeToken })));

const at = (time: ApiToken["createdAt"]) => time && timestampMs(time);

function End({ token }: { token: ApiToken }) {
  return <Status {...endOf(at(token.expiresAt), useNow())} />;
}

/** One's own tokens one may always revoke. */
const OWN: Allowed = { verb: "revoke", allowed: true, reasonIfNot: "" };

export function TokensPage() {
  const page = usePageState();
  const session = useSession().data;
  const mayAll = session?.permissions.includes("people.view") ?? false;
  const everybody = mayAll && page.search.everybody === true;
  const query = useQuery(ApiTokenService.method.listApiTokens, { everybody });
  const textOf = useTexts();
  const manage = useRight()("people.manage");
  const [revoking, setRevoking] = useState<ApiToken>();
  const columns: Column<ApiToken>[] = [
    { id: "name", header: "Name", sort: (t) => t.name, cell: (t) => t.name },
    ...(everybody ? [{ id: "person", header: "Acts for", sort: (t: ApiToken) => t.userName, cell: (t: ApiToken) => t.userName }] : []),
    { id: "start", header: "Starts with", cell: (t) => <code className="q-mono">{t.start}…</code> },
    { id: "permissions", header: "May", cell: (t) => <PermissionList words={t.permissions} textOf={textOf} of={`token ${t.name}`} /> },
    { id: "scope", header: "On what", cell: (t) => <ScopeView scope={t.scope} /> },
    { id: "created", header: "Made", sort: (t) => at(t.createdAt) ?? 0, cell: (t) => <Age at={at(t.createdAt)} /> },
    { id: "ends", header: "Ends", sort: (t) => at(t.expiresAt) ?? Number.MAX_SAFE_INTEGER, cell: (t) => <End token={t} /> },
    {
      id: "used",
      header: "Last used",
      sort: (t) => at(t.usedAt) ?? 0,
      cell: (t) => (
        <>
          <Age at={at(t.usedAt)} />
          {t.usedFrom && <span className="q-muted"> from {t.usedFrom}</span>}
        </>
      ),
    },
    {
      id: "actions",
      header: "Actions",
      isHeaderHidden: true,
      cell: (t) => (
        <ActionButton variant="link" action={t.userId === session?.userId ? OWN : manage} onClick={() => setRevoking(t)} aria-label={`Revoke ${t.name}`}>
          Revoke
        </ActionButton>
      ),
    },
  ];
  return (
    <>
      <PageTitle
        title="API tokens"
        note="Programs act for you with these, and never may more than you."
        actions={
          <Button size="sm" onClick={page.openCreate}>
            Create token
          </Button>
        }
      />
      {mayAll && (
        <div className="q-toolbar">
          <Checkbox id="everybody" label="Of everybody" isChecked={everybody} onChange={(_, on) => page.setSearch({ everybody: on || undefined })} />
        </div>
      )}
      <DataTable
        label="API tokens"
        rows={query.data?.tokens}
        columns={columns}
        rowId={(t) => t.id}
        rowName={(t) => t.name}
        sort={page.sort ?? { id: "name", descending: false }}
        onSort={page.setSort}
        fault={query.error ? faultOf(query.error) : undefined}
        onRetry={() => void query.refetch()}
        empty={
          <Empty title={everybody ? "Nobody has a token" : "You have no token"} action={<Button onClick={page.openCreate}>Create token</Button>}>
            A backup program or a script signs in with a token instead of your password. It can be limited, and revoked by itself.
          </Empty>
        }
      />
      <Suspense>
        {page.isCreating && <CreateToken onClose={page.closeCreate} />}
        {revoking && <RevokeToken token={revoking} onClose={() => setRevoking(undefined)} />}
      </Suspense>
    </>
  );
}
