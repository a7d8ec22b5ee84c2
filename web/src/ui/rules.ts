// Form rules. zod compiles them with `new Function` where it may; the page's content policy forbids that.
import { z } from "zod";

z.config({ jitless: true });

export { z };
