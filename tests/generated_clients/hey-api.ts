import { getAttention, inferV2, predict } from "./generated";

const answer = await predict({ body: { sequence: [[0.1, null]], attention: "full", importance: true } });
const attention: number[] | number[][] | null | undefined = answer.data?.predictions[0]?.attention;
const inferred = await inferV2({
  path: { model: "m" },
  body: { inputs: [{ name: "sequence", shape: [1, 1, 2], datatype: "FP32", data: [0.1, null] }] },
});
const data: number[] | null | undefined = inferred.data?.outputs[0]?.data;
const profile = await getAttention();
export { attention, data, profile };
