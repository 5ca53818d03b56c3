/** Compiles as `jest.config.js` says, after one break of the source. */
import swc from "@swc/jest";

export default {
  createTransformer({ file, from, to, options }) {
    const { process, processAsync } = swc.createTransformer(options);
    const broken = (source, path) =>
      path.endsWith(`/${file}`) ? source.replace(from, () => to) : source;
    // Without a cache key of its own, so that jest's own holds: it has the break in it.
    return {
      process: (source, path, given) => process(broken(source, path), path, given),
      processAsync: (source, path, given) => processAsync(broken(source, path), path, given),
    };
  },
};
