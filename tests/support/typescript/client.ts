// Asks a served Ranker through the types that openapi-typescript made of its document; prints what it was told.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

declare const process: { argv: string[] };
const [url, token] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: url, headers: { authorization: `Bearer ${token}` } });
const body: components["schemas"]["PredictRequest"] = { userId: "5", productIds: ["3", "1", "2"] };

const ranked = await client.POST("/predict", { body });
if (!ranked.data) throw new Error(ranked.error.error);
const explained = await client.POST("/explain", { body });
if (!explained.data) throw new Error(explained.error.error);
const refused = await client.POST("/predict", { body: { userId: "5", productIds: ["1", "1"] } });

const ranking: string[] = ranked.data.ranking;
const score: number | null = explained.data.products[0].score;
const limit: "products" | "rows" | "deadline" | "scores" | "together" | null = explained.data.limitedBy;
console.log(JSON.stringify({ ranking, score, limit, refused: refused.error?.error_type }));
