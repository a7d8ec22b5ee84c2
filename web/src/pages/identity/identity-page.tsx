// How people prove who they are: limits of sessions, and the providers and directories beside the names kept here.
import { useQuery } from "@connectrpc/connect-query";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { lazy, Suspense, useCallback, useState } from "react";
import { faultOf } from "../../api/fault";
import { UNTOLD } from "../../api/lists";
import { IdentityService, type IdentitySource } from "../../api/gen/quantix/identity/v1/identity_pb";
import { useRight } from "../../api/session";
import { usePageState } from "../../shell/page-state";
import { ActionButton, Card, Empty, PageTitle } from "../../ui/parts";
import { Status } from "../../ui/status";
import { DataTable, type Column } from "../../ui/table";
import { Age } from "../../ui/time";
import { SessionLimits } from "./session-limits";
import type { Outcome } from "./test-source";
import { addressesOf, KINDS, kindOf, sourceStatus } from "./words";

const SourceDialog = lazy(() => import("./source-dialog").then((m) => ({ default: m.SourceDialog })));
const TestDialog = lazy(() => import("./test-source").then((m) => ({ default: m.TestDialog })));
const SwitchSource = lazy(() => import("./source-questions").then((m) => ({ default: m.SwitchSource })));
const DeleteSource = lazy(() => import("./source-questions").then((m) => ({ default: m.DeleteSource })));

type Verb = "test" | "change" | "switch" | "delete";

/** Tests are not kept by the vDC: what this page saw of them since it was opened. */
type Tests = ReadonlyMap<string, Outcome>;

function LastTest({ outcome }: { outcome: Outcome | undefined }) {
  if (!outcome) return <span className="q-muted" title="Not since this page was opened">–</span>;
  return (
    <>
      <Status tone={outcome.fault ? "error" : "ok"} label={outcome.fault ? "Failed" : "All is well"} />{" "}
      <span className="q-muted">
        <Age at={outcome.at} />
      </span>
      {outcome.fault && <div className="q-small">{outcome.fault.message}</div>}
    </>
  );
}

export function IdentityPage() {
  const page = usePageState();
  const manage = useRight()("people.manage");
  // People come to a source by themselves, and how many there are decides what deleting it asks.
  const query = useQuery(IdentityService.method.listIdentitySources, {}, UNTOLD);
  const [open, setOpen] = useState<{ verb: Verb; source: IdentitySource }>();
  const [tests, setTests] = useState<Tests>(new Map());
  const tested = useCallback((id: string, outcome: Outcome) => setTests((old) => new Map(old).set(id, outcome)), []);
  const add = (isLarge: boolean) => (
    <ActionButton variant="primary" isLarge={isLarge} action={manage} onClick={page.openCreate}>
      Add provider or directory
    </ActionButton>
  );
  const columns: Column<IdentitySource>[] = [
    { id: "title", header: "Title", sort: (s) => s.title, cell: (s) => s.title },
    { id: "kind", header: "Kind", sort: (s) => KINDS[kindOf(s)], cell: (s) => <span className="q-nowrap">{KINDS[kindOf(s)]}</span> },
    { id: "state", header: "State", cell: (s) => <Status {...sourceStatus(s)} />, width: "120px" },
    { id: "address", header: "Address", cell: (s) => addressesOf(s).map((a) => <div key={a} className="q-mono q-nowrap">{a}</div>) },
    { id: "people", header: "People", numeric: true, sort: (s) => s.people, cell: (s) => s.people.toLocaleString("en") },
    { id: "test", header: "Last test", cell: (s) => <LastTest outcome={tests.get(s.id)} /> },
    { id: "changed", header: "Changed", sort: (s) => (s.changedAt ? timestampMs(s.changedAt) : 0), cell: (s) => <Age at={s.changedAt && timestampMs(s.changedAt)} /> },
    {
      id: "actions",
      header: "Actions",
      isHeaderHidden: true,
      cell: (s) => (
        <span className="q-nowrap">
          {(["test", "change", "switch", "delete"] as const).map((verb) => (
            <ActionButton key={verb} variant="link" action={manage} aria-label={`${wordOf(verb, s)} ${s.title}`} onClick={() => setOpen({ verb, source: s })}>
              {wordOf(verb, s)}
            </ActionButton>
          ))}
        </span>
      ),
    },
  ];
  const latest = (source: IdentitySource) => query.data?.sources.find((s) => s.id === source.id) ?? source;
  const redirectUri = query.data?.redirectUri ?? "";
  const dialog = { onDone: () => void query.refetch(), onClose: () => setOpen(undefined) };
  return (
    <>
      <PageTitle title="Sign-in" note="How people prove who they are, and how long that counts." actions={add(false)} />
      <div className="q-stack">
        <SessionLimits />
        <Card title="Providers and directories">
          <DataTable
            label="Providers and directories"
            rows={query.data?.sources}
            columns={columns}
            rowId={(s) => s.id}
            rowName={(s) => s.title}
            sort={page.sort ?? { id: "title", descending: false }}
            onSort={page.setSort}
            fault={query.error ? faultOf(query.error) : undefined}
            onRetry={() => void query.refetch()}
            empty={
              <Empty title="No provider or directory yet" action={add(true)}>
                People sign in with a name and a password that are kept here. With an OpenID Connect provider or an LDAP directory they use the account they have already, and their groups can
                bring roles.
              </Empty>
            }
          />
        </Card>
      </div>
      <Suspense>
        {page.isCreating && manage.allowed && <SourceDialog redirectUri={redirectUri} onDone={dialog.onDone} onClose={page.closeCreate} />}
        {open?.verb === "change" && <SourceDialog source={open.source} redirectUri={redirectUri} {...dialog} />}
        {open?.verb === "test" && <TestDialog source={open.source} onTested={tested} onClose={dialog.onClose} />}
        {open?.verb === "switch" && <SwitchSource source={latest(open.source)} {...dialog} />}
        {open?.verb === "delete" && <DeleteSource source={latest(open.source)} {...dialog} />}
      </Suspense>
    </>
  );
}

function wordOf(verb: Verb, source: IdentitySource): string {
  switch (verb) {
    case "test":
      return "Test";
    case "change":
      return "Change";
    case "switch":
      return source.enabled ? "Turn off" : "Turn on";
    case "delete":
      return "Delete";
  }
}
