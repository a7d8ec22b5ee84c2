// Checking the whole log: whether any row was changed, taken away or put in.
import { Button } from "@patternfly/react-core";
import { useState } from "react";
import { useClient } from "../../api/context";
import { AuditService, type VerifyAuditResponse } from "../../api/gen/quantix/audit/v1/audit_pb";
import { FaultPanel, type FaultView } from "../../ui/fault";
import { useRun } from "../../ui/run";
import { Status } from "../../ui/status";
import { Age, serverNow } from "../../ui/time";

/** Millions of rows take a while; longer than this nobody waits. */
const CHECK_MS_MAX = 300_000;

const figure = (n: bigint) => n.toLocaleString("en");

/** What to show when a row does not fit. */
export function brokenFault(verdict: VerifyAuditResponse): FaultView {
  const row = figure(verdict.brokenAt);
  return {
    code: "AUDIT_LOG_BROKEN",
    message: `The audit log does not fit at row ${row}.`,
    cause: verdict.broken,
    remedy: `Trust no row from ${row} on. Compare them with a backup or with a log that was downloaded earlier, and look at who had access to the vDC's database since.`,
  };
}

export function useCheck() {
  const client = useClient(AuditService);
  const [verdict, setVerdict] = useState<{ at: number; answer: VerifyAuditResponse }>();
  const { busy, fault, run } = useRun(() => {});
  const check = () => {
    setVerdict(undefined);
    run(async () => {
      const answer = await client.verifyAudit({}, { timeoutMs: CHECK_MS_MAX });
      setVerdict({ at: serverNow(), answer });
    });
  };
  const button = (
    <Button variant="secondary" size="sm" isLoading={busy} isDisabled={busy} onClick={check}>
      Check the log
    </Button>
  );
  const broken = verdict && verdict.answer.brokenAt > 0n;
  const panel = (fault || verdict) && (
    <>
      {fault && <FaultPanel fault={fault} onRetry={check} />}
      {broken && <FaultPanel fault={brokenFault(verdict.answer)} />}
      {verdict && (
        <p role="status">
          {!broken && <Status tone="ok" label={fitText(verdict.answer)} />}{" "}
          <span className="q-muted">
            Checked <Age at={verdict.at} />.
          </span>
        </p>
      )}
    </>
  );
  return { button, panel };
}

function fitText({ rows, first, last }: VerifyAuditResponse): string {
  if (rows === 0n) return "The log holds no row yet.";
  if (rows === 1n) return `The one row fits, number ${figure(first)}.`;
  return `All ${figure(rows)} rows fit, from row ${figure(first)} to row ${figure(last)}.`;
}
