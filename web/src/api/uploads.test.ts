// Which broken uploads go on by themselves, and what is said about the others.
import { describe, expect, it } from "vitest";
import { mayRetry, uploadFault } from "./uploads";

function refused(status: number, body = ""): Error {
  return Object.assign(new Error(`status ${status}`), { originalResponse: { getStatus: () => status, getBody: () => body } });
}
const fault = (code: string) => JSON.stringify({ fault: { code, message: "No.", cause: "why", remedy: "Do.", host: "host-1" } });

describe("an upload that broke off", () => {
  it("goes on after a broken line, a restart, and a host that has not reported yet", () => {
    expect(mayRetry(new Error("network"))).toBe(true);
    for (const error of [refused(400), refused(409, fault("UPLOAD_OFFSET_MISMATCH")), refused(503, fault("HOST_UNREACHABLE")), refused(400, fault("HOST_DISCONNECTED")), refused(502)]) expect(mayRetry(error)).toBe(true);
  });

  it("stops where trying again changes nothing", () => {
    for (const error of [refused(401), refused(404), refused(413, fault("TOO_LARGE")), refused(400, fault("POOL_FULL")), refused(400, fault("IMAGE_NOT_AN_IMAGE"))]) expect(mayRetry(error)).toBe(false);
  });

  it("shows the vDC's own fault, and else what the line said", () => {
    expect(uploadFault(refused(400, fault("POOL_FULL")))).toEqual({ code: "POOL_FULL", message: "No.", cause: "why", remedy: "Do.", host: "host-1" });
    expect(uploadFault(refused(400, "<html>")).cause).toBe("status 400");
  });
});
