// Reaching a provider or directory now, and what it said.
import { useCallback, useEffect, useState } from "react";
import { useClient } from "../../api/context";
import { faultOf, viewOf } from "../../api/fault";
import { IdentityService, type IdentitySource, type IdentitySourceWish } from "../../api/gen/quantix/identity/v1/identity_pb";
import { Dialog } from "../../ui/dialog";
import { FaultPanel, type FaultView } from "../../ui/fault";
import { Loading } from "../../ui/parts";
import { Status } from "../../ui/status";

export interface Outcome {
  /** What was found, in the order in which it was looked at. */
  facts: string[];
  fault?: FaultView;
  at: number;
}

/** Told of each test of a saved source. The same function at each render: it is what a test begins anew with. */
export type OnTested = (id: string, outcome: Outcome) => void;

/** `test` answers once the provider or directory did, or did not; while it runs, nothing of an earlier test is shown. */
export function useTest(onTested?: OnTested) {
  const client = useClient(IdentityService);
  const [busy, setBusy] = useState(false);
  const [outcome, setOutcome] = useState<Outcome>();
  const test = useCallback(
    async (id: string, source?: IdentitySourceWish) => {
      setBusy(true);
      setOutcome(undefined);
      const done = (facts: string[], fault?: FaultView) => {
        const next = { facts, fault, at: Date.now() };
        setOutcome(next);
        setBusy(false);
        onTested?.(id, next);
      };
      try {
        const { facts, fault } = await client.testIdentitySource({ id, source });
        done(facts, fault && viewOf(fault));
      } catch (error) {
        done([], faultOf(error));
      }
    },
    [client, onTested],
  );
  return { busy, outcome, test };
}

export function TestOutcome({ busy, outcome }: { busy: boolean; outcome: Outcome | undefined }) {
  if (busy) return <Loading label="what it answers" lines={2} />;
  if (!outcome) return null;
  return (
    <section className="q-stack" aria-label="Result of the test" role="status">
      {outcome.facts.length > 0 && (
        <ul className="q-list">
          {outcome.facts.map((fact) => (
            <li key={fact}>
              <Status tone="ok" label={fact} />
            </li>
          ))}
        </ul>
      )}
      {outcome.fault && <FaultPanel fault={outcome.fault} />}
      {!outcome.fault && <p>All is well: people can sign in with it.</p>}
    </section>
  );
}

/** Tests what is saved. */
export function TestDialog({ source, onTested, onClose }: { source: IdentitySource; onTested: OnTested; onClose: () => void }) {
  const { busy, outcome, test } = useTest(onTested);
  const { id } = source;
  useEffect(() => void test(id), [test, id]);
  return (
    <Dialog title={`Test of "${source.title}"`} size="small" submit="Test again" busy={busy} onSubmit={() => void test(id)} onClose={onClose} closeLabel="Close">
      <TestOutcome busy={busy} outcome={outcome} />
    </Dialog>
  );
}
