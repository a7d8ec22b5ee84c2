// One change on its way to the vDC: busy while it runs, the fault when it is refused.
import { useState } from "react";
import { faultOf } from "../api/fault";
import type { FaultView } from "./fault";

export function useRun(done: () => void) {
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<FaultView>();
  const run = (work: () => Promise<unknown>) => {
    setBusy(true);
    setFault(undefined);
    work().then(
      () => {
        setBusy(false);
        done();
      },
      (error: unknown) => {
        setFault(faultOf(error));
        setBusy(false);
      },
    );
  };
  return { busy, fault, run };
}
