// Instead of what somebody asked for and may not see: which right is missing, and who can give it.
import { FaultPanel, type FaultView } from "./fault";
import { Empty } from "./parts";

/** The permission a refusal names. */
function missingIn(fault: FaultView): string | undefined {
  return /permission ([a-z]+\.[a-z]+)/.exec(fault.cause ?? "")?.[1];
}

/** A refusal in place of a page or a part of it; one for want of a right is no failure, and trying again will not help. */
export function Refused({ fault, onRetry }: { fault: FaultView; onRetry?: () => void }) {
  if (fault.code !== "FORBIDDEN") return <FaultPanel fault={fault} onRetry={onRetry} />;
  const missing = missingIn(fault);
  return (
    <div role="status">
      <Empty title={fault.message}>
        {missing ? (
          <>
            The permission <code>{missing}</code> is missing. Who manages people can give you a role that has it, under Administration, Roles.
          </>
        ) : (
          (fault.remedy ?? "")
        )}
      </Empty>
    </div>
  );
}
