// Turns whatever a call threw into the one shape the fault panel shows.
import { Code, ConnectError } from "@connectrpc/connect";
import { FaultCode, FaultDetailSchema, type FaultDetail } from "./gen/quantix/fault/v1/fault_pb";
import type { FaultView } from "../ui/fault";

/** Something that this page itself found, already in words. */
export class Stated extends Error {
  constructor(readonly fault: FaultView) {
    super(fault.message);
  }
}

/** The fault a host or the vDC stated, ready to show. */
export function viewOf(detail: FaultDetail): FaultView {
  return {
    code: FaultCode[detail.code] ?? `CODE_${detail.code}`,
    message: detail.message,
    cause: detail.cause,
    remedy: detail.remedy,
    host: detail.host,
    phase: detail.phase,
    field: detail.field,
    reasons: detail.reasons.map((r) => ({ host: r.host, reason: r.reason })),
    evidence: detail.evidence && {
      url: detail.evidence.url,
      httpStatus: detail.evidence.httpStatus,
      contentType: detail.evidence.contentType,
      bodyStart: detail.evidence.bodyStart,
    },
  };
}

/** What to show for an error of any origin. An error without a typed detail says what the transport saw. */
export function faultOf(error: unknown): FaultView {
  if (error instanceof Stated) return error.fault;
  const connect = ConnectError.from(error);
  const detail = connect.findDetails(FaultDetailSchema)[0];
  if (detail) return viewOf(detail);
  const unreachable = connect.code === Code.Unavailable || connect.cause instanceof TypeError;
  if (unreachable) {
    return {
      code: "VDC_UNREACHABLE",
      message: "The vDC did not answer.",
      cause: connect.rawMessage,
      remedy: "Check that the vDC runs and that this browser reaches it; the page catches up by itself.",
    };
  }
  return {
    code: Code[connect.code]?.replace(/([a-z])([A-Z])/g, "$1_$2").toUpperCase() ?? "UNKNOWN",
    message: "The vDC answered with an error that carries no explanation.",
    cause: connect.rawMessage,
    remedy: "Try again; if it stays, copy the details for whoever runs the vDC.",
  };
}

/** The stable code of an error, or empty when it carries none. */
export function codeOf(error: unknown): FaultCode | undefined {
  if (error === null || error === undefined || error instanceof Stated) return undefined;
  return ConnectError.from(error).findDetails(FaultDetailSchema)[0]?.code;
}
