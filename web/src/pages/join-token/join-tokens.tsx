// Tokens that hosts join by: list, create, revoke. A tab of the hosts' page.
import { useInfiniteQuery } from "@connectrpc/connect-query";
import { lazy, Suspense, useState } from "react";
import { useApi, useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import { JoinTokenService, JoinTokenState, type JoinToken } from "../../api/gen/quantix/join_token/v1/join_token_pb";
import { useRight } from "../../api/session";
import { Confirm } from "../../ui/dialog";
import { PAGE_ROWS } from "../../ui/page";
import { ActionButton, Empty, type Allowed } from "../../ui/parts";
import { useRun } from "../../ui/run";
import { Status, type StatusView } from "../../ui/status";
import { DataTable, type Column } from "../../ui/table";
import { Age, formatDuration, formatExact, useNow } from "../../ui/time";
import { ms } from "../host/words";

const CreateDialog = lazy(() => import("./create-join-token").then((m) => ({ default: m.CreateJoinTokenDialog })));

function state(token: JoinToken): StatusView {
  switch (token.state) {
    case JoinTokenState.USABLE:
      return { tone: "ok", label: "Usable" };
    case JoinTokenState.USED:
      return { tone: "off", label: "Used" };
    case JoinTokenState.EXPIRED:
      return { tone: "off", label: "Expired" };
    case JoinTokenState.REVOKED:
      return { tone: "off", label: "Revoked" };
    default:
      return { tone: "unknown", label: "Unknown" };
  }
}

function Ends({ token }: { token: JoinToken }) {
  const now = useNow();
  const at = ms(token.expiresAt);
  if (at === undefined) return null;
  return <span title={formatExact(at)}>{at > now ? `in ${formatDuration(at - now)}` : "is over"}</span>;
}

const nameOf = (token: JoinToken) => token.note || `of ${formatExact(ms(token.createdAt) ?? 0)}`;

function columns(manage: Allowed, onRevoke: (token: JoinToken) => void): Column<JoinToken>[] {
  return [
    { id: "state", header: "State", cell: (t) => <Status {...state(t)} />, width: "120px" },
    { id: "note", header: "Note", cell: (t) => t.note || "–" },
    { id: "used", header: "Uses", numeric: true, cell: (t) => `${t.used} of ${t.uses}` },
    { id: "ends", header: "Ends", cell: (t) => <Ends token={t} /> },
    { id: "usedAt", header: "Last used", cell: (t) => <Age at={ms(t.usedAt)} /> },
    { id: "created", header: "Created", cell: (t) => <Age at={ms(t.createdAt)} /> },
    { id: "by", header: "By", cell: (t) => t.createdBy },
    {
      id: "revoke",
      header: "Actions",
      isHeaderHidden: true,
      cell: (t) =>
        t.state === JoinTokenState.USABLE && (
          <ActionButton variant="link" action={manage} onClick={() => onRevoke(t)} aria-label={`Revoke token ${nameOf(t)}`}>
            Revoke
          </ActionButton>
        ),
    },
  ];
}

export function JoinTokens({ isCreating, onCreate, onCreated }: { isCreating: boolean; onCreate: () => void; onCreated: () => void }) {
  const { queries } = useApi();
  const query = useInfiniteQuery(
    JoinTokenService.method.listJoinTokens,
    { pageSize: PAGE_ROWS, pageToken: "" },
    { pageParamKey: "pageToken", getNextPageParam: (last) => last.nextPageToken || undefined },
  );
  const manage = useRight()("host.manage");
  const [revoking, setRevoking] = useState<JoinToken>();
  const again = () => void queries.invalidateQueries();
  const pages = query.data?.pages;
  return (
    <>
      <DataTable
        label="Join tokens"
        rows={pages?.flatMap((p) => p.joinTokens)}
        columns={columns(manage, setRevoking)}
        rowId={(t) => t.id}
        rowName={nameOf}
        sortedByServer
        total={Number(pages?.at(-1)?.total ?? 0n)}
        hasMore={query.hasNextPage}
        onMore={() => void query.fetchNextPage()}
        fault={query.error ? faultOf(query.error) : undefined}
        onRetry={() => void query.refetch()}
        empty={
          <Empty title="No join token yet" action={<ActionButton isLarge variant="primary" action={manage} onClick={onCreate}>Create join token</ActionButton>}>
            With a join token a machine becomes a host by one command, without anybody entering its address here.
          </Empty>
        }
      />
      {isCreating && (
        <Suspense>
          <CreateDialog
            onClose={() => {
              again();
              onCreated();
            }}
          />
        </Suspense>
      )}
      {revoking && (
        <Revoke
          token={revoking}
          onClose={() => {
            again();
            setRevoking(undefined);
          }}
        />
      )}
    </>
  );
}

function Revoke({ token, onClose }: { token: JoinToken; onClose: () => void }) {
  const client = useClient(JoinTokenService);
  const { busy, fault, run } = useRun(onClose);
  return (
    <Confirm title={`Revoke join token ${nameOf(token)}?`} verb="Revoke token" busy={busy} fault={fault} onClose={onClose} onConfirm={() => run(() => client.revokeJoinToken({ id: token.id }))}>
      <p>No machine joins by it any more. {token.used === 0 ? "None did so far." : "Hosts that joined by it stay."}</p>
    </Confirm>
  );
}
