// Errors as the vDC sends them.
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { FaultDetailSchema } from "../api/gen/quantix/fault/v1/fault_pb";

type FaultInit = MessageInitShape<typeof FaultDetailSchema>;

export function refusal(code: Code, fault: FaultInit): ConnectError {
  return new ConnectError(fault.message ?? "", code, undefined, [{ desc: FaultDetailSchema, value: fault }]);
}
