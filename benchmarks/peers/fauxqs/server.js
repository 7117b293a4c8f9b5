// An SQS and SNS server in memory: `node server.js PORT`. Its own command would listen on all addresses.
import { buildApp } from "fauxqs";

const app = buildApp({ logger: false, defaultRegion: "eu-west-2" });
await app.listen({ host: "127.0.0.1", port: Number(process.argv[2]) });
