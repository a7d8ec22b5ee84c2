// Head of what a host was asked: how old the answer is, and a button to ask again.
import { Button } from "@patternfly/react-core";
import type { ReactNode } from "react";
import { Age } from "./time";

interface LookAgainProps {
  busy: boolean;
  onLook: () => void;
  /** "host-1 looked", "host-1 was asked": what stands before the age. */
  said: string;
  /** Absent until the first answer. */
  at: number | undefined;
  /** More to do with the answer. */
  children?: ReactNode;
}

export function LookAgain({ busy, onLook, said, at, children }: LookAgainProps) {
  return (
    <div className="q-actions">
      <Button variant="secondary" size="sm" isLoading={busy} isDisabled={busy} onClick={onLook}>
        Look again
      </Button>
      {children}
      {at !== undefined && (
        <span className="q-muted">
          {said} <Age at={at} />
        </span>
      )}
    </div>
  );
}
