// Who vouches for whom: authorities, the vDC's certificates, and those of hosts by their end.
import { useQuery } from "@connectrpc/connect-query";
import { Link } from "@tanstack/react-router";
import { lazy, Suspense, useState } from "react";
import { useClient } from "../../api/context";
import { faultOf, viewOf } from "../../api/fault";
import { CertificateService, type Authority, type Certificate, type Certificates, type HostCertificate } from "../../api/gen/quantix/certificate/v1/certificate_pb";
import { useRight } from "../../api/session";
import { Confirm } from "../../ui/dialog";
import { FaultPanel } from "../../ui/fault";
import { Refused } from "../../ui/forbidden";
import { ActionButton, allowedOf, Card, Copyable, Empty, Facts, Loading, PageTitle } from "../../ui/parts";
import { useRun } from "../../ui/run";
import { Status } from "../../ui/status";
import { DataTable, type Column } from "../../ui/table";
import { Age, formatExact, useNow } from "../../ui/time";
import { hostPhase, ms } from "../host/words";
import { expiry, shortPrint, standing } from "./words";

const UploadDialog = lazy(() => import("./upload-certificate").then((m) => ({ default: m.UploadDialog })));

/** The vDC tells when a certificate of its own changes. Hosts renew theirs without a word, and now and then. */
const AGAIN_MS = 60_000;
/** While hosts take over a new authority, one after the other. */
const PENDING_AGAIN_MS = 15_000;

function Until({ at }: { at: number | undefined }) {
  const now = useNow();
  return <Status {...expiry(at, now)} title={at === undefined ? undefined : formatExact(at)} />;
}

const moment = (at: number | undefined) => (at === undefined ? "–" : formatExact(at));

const AUTHORITIES: Column<Authority>[] = [
  {
    id: "standing",
    header: "State",
    cell: (a) => (
      <>
        <Status {...standing(a.standing)} />
        <div className="q-small">{standing(a.standing).note}</div>
      </>
    ),
  },
  { id: "fingerprint", header: "Fingerprint (SHA-256)", cell: (a) => <code title={a.fingerprint}>{shortPrint(a.fingerprint)}…</code> },
  { id: "since", header: "So since", cell: (a) => <Age at={ms(a.since)} /> },
  { id: "expires", header: "Valid for", cell: (a) => <Until at={ms(a.expiresAt)} /> },
  { id: "dropped", header: "Dropped", cell: (a) => moment(ms(a.droppedAt)) },
];

const HOSTS: Column<HostCertificate>[] = [
  {
    id: "name",
    header: "Host",
    cell: (h) => (
      <Link to="/hosts/$id" params={{ id: h.hostId }}>
        {h.hostName}
      </Link>
    ),
  },
  { id: "state", header: "State", cell: (h) => <Status {...hostPhase(h.phase)} /> },
  { id: "expires", header: "Valid for", cell: (h) => <Until at={ms(h.expiresAt)} /> },
  { id: "fault", header: "Renewal", cell: (h) => (h.fault ? <FaultPanel fault={viewOf(h.fault)} /> : "by itself") },
];

function isPending(data: Certificates | undefined): boolean {
  return data !== undefined && (data.signsAt !== undefined || data.hostsBehind > 0);
}

export function CertificatesPage() {
  const query = useQuery(CertificateService.method.getCertificates, {}, { refetchInterval: ({ state }) => (isPending(state.data) ? PENDING_AGAIN_MS : AGAIN_MS) });
  const [open, setOpen] = useState<"upload" | "remove" | "rotate">();
  const data = query.data;
  if (!data) return query.error ? <Refused fault={faultOf(query.error)} onRetry={() => void query.refetch()} /> : <Loading label="certificates" />;
  const close = () => {
    setOpen(undefined);
    void query.refetch();
  };
  return (
    <>
      <PageTitle
        title="Certificates"
        note="How the vDC, its hosts and browsers know each other."
        actions={
          <ActionButton action={allowedOf(data.allowedActions, "rotate")} onClick={() => setOpen("rotate")}>
            Rotate authority
          </ActionButton>
        }
      />
      {query.error && <FaultPanel fault={faultOf(query.error)} onRetry={() => void query.refetch()} />}
      <div className="q-stack">
        <Served data={data} onUpload={() => setOpen("upload")} onRemove={() => setOpen("remove")} />
        <Card title="Authorities">
          <Waiting data={data} />
          <DataTable label="Authorities" rows={data.authorities} columns={AUTHORITIES} rowId={(a) => a.fingerprint} rowName={(a) => shortPrint(a.fingerprint)} sortedByServer empty={null} />
        </Card>
        <Card title="Hosts" aside={<HostsShown data={data} />}>
          <DataTable
            label="Certificates of hosts"
            rows={data.hosts}
            columns={HOSTS}
            rowId={(h) => h.hostId}
            rowName={(h) => h.hostName}
            sortedByServer
            empty={<Empty title="No host yet">A host gets its certificate when it is added, and renews it by itself.</Empty>}
          />
        </Card>
      </div>
      {open === "upload" && (
        <Suspense>
          <UploadDialog onClose={close} />
        </Suspense>
      )}
      {open === "remove" && <Remove onClose={close} />}
      {open === "rotate" && <Rotate hosts={data.hostCount} onClose={close} />}
    </>
  );
}

function HostsShown({ data }: { data: Certificates }) {
  const all = data.hostCount === data.hosts.length;
  return <span className="q-muted">{all ? "Those that end first come first." : `The ${data.hosts.length} of ${data.hostCount} that end first.`}</span>;
}

function Waiting({ data }: { data: Certificates }) {
  if (!data.signsAt) return null;
  const { hostsBehind, hostsBehindNames: names } = data;
  const who = hostsBehind === 0 ? "All connected hosts trust the new authority." : `${hostsBehind} connected hosts do not trust the new authority yet: ${names.join(", ")}${hostsBehind > names.length ? " and others" : ""}.`;
  return (
    <p role="status">
      {who} It signs then, or on {moment(ms(data.signsAt))} at the latest.
    </p>
  );
}

function Served({ data, onUpload, onRemove }: { data: Certificates; onUpload: () => void; onRemove: () => void }) {
  const { uploaded, vdc } = data;
  const manage = useRight()("certificate.manage");
  const actions = (
    <div className="q-actions">
      <ActionButton action={manage} onClick={onUpload}>
        {uploaded ? "Replace certificate" : "Upload certificate"}
      </ActionButton>
      {uploaded && (
        <ActionButton variant="danger" action={manage} onClick={onRemove}>
          Remove certificate
        </ActionButton>
      )}
    </div>
  );
  return (
    <>
      <Card title="For browsers and tools" aside={actions}>
        {uploaded ? (
          <CertificateFacts label="Uploaded certificate" certificate={uploaded} />
        ) : (
          <p>They see the vDC's own certificate, which browsers do not trust unless told to. Upload one that they trust.</p>
        )}
      </Card>
      {vdc && (
        <Card title="For hosts">
          <CertificateFacts label="The vDC's own certificate" certificate={vdc} />
        </Card>
      )}
    </>
  );
}

function CertificateFacts({ certificate: c, label }: { certificate: Certificate; label: string }) {
  const rows: [string, React.ReactNode][] = [
    ["Valid for", <Until key="until" at={ms(c.expiresAt)} />],
    ["Expires", moment(ms(c.expiresAt))],
    ["Renewed", c.renewsAt ? `by itself, from ${moment(ms(c.renewsAt))} on` : "by hand: upload a new one before it ends"],
    ["Names", c.names.join(", ")],
    ["Issued by", c.issuer],
    ["Fingerprint (SHA-256)", <Copyable key="print" text={c.fingerprint} label="fingerprint" />],
  ];
  if (c.uploadedAt) rows.push(["Uploaded", `${moment(ms(c.uploadedAt))} by ${c.uploadedBy}`]);
  return <Facts label={label} rows={rows} />;
}

function Remove({ onClose }: { onClose: () => void }) {
  const client = useClient(CertificateService);
  const { busy, fault, run } = useRun(onClose);
  return (
    <Confirm title="Remove the uploaded certificate?" verb="Remove certificate" busy={busy} fault={fault} onClose={onClose} onConfirm={() => run(() => client.removeCertificate({}))}>
      <p>Browsers and tools see the vDC's own certificate from their next connection on, and warn of it. Hosts notice nothing. The key is deleted here.</p>
    </Confirm>
  );
}

function Rotate({ hosts, onClose }: { hosts: number; onClose: () => void }) {
  const client = useClient(CertificateService);
  const { busy, fault, run } = useRun(onClose);
  return (
    <Confirm title="Rotate the certificate authority?" verb="Rotate authority" danger={false} busy={busy} fault={fault} onClose={onClose} onConfirm={() => run(() => client.rotateAuthority({}))}>
      <p>A new authority is made. It signs once all connected hosts trust it, or after 7 days; {hosts === 1 ? "the host" : `the ${hosts} hosts`} then renew within a day. The old one stays trusted for 90 days more.</p>
      <p>Nothing is interrupted. A host that stays away until its certificate ends must be enrolled again with a new token. Tools that trust the old authority need the new one.</p>
    </Confirm>
  );
}
