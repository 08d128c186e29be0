// client.mjs download REPO FILE [REV] | snapshot REPO [REV] | scan
//
// @huggingface/hub on the cache of HF_HOME or HF_HUB_CACHE and the hub of HF_ENDPOINT; prints
// one JSON line like the Python programs beside it. Run it by CACHE/js/run (install-clients js).
// It has no offline mode of its own: a commit for REV needs no hub, a name does.
import { createHash } from "node:crypto";
import { createReadStream, readFileSync } from "node:fs";
import { readdir, realpath, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, relative } from "node:path";
import { pipeline } from "node:stream/promises";

const modules = process.env.WEIGHTFS_JS_MODULES;
if (!modules) {
	console.error("client.mjs: run it by CACHE/js/run (tools/install-clients js), which says where the packages are");
	process.exit(2);
}
const hub = createRequire(join(modules, "x"))("@huggingface/hub");
const { version } = JSON.parse(readFileSync(join(modules, "@huggingface/hub/package.json"), "utf8"));

// The library reports progress on stdout, which belongs to the result.
console.debug = console.log = console.error;

async function sha256Of(path) {
	const hash = createHash("sha256");
	await pipeline(createReadStream(path), hash);
	return hash.digest("hex");
}

async function describe(path) {
	return { path, realpath: await realpath(path), size: (await stat(path)).size, sha256: await sha256Of(path) };
}

async function walk(root, folder = root) {
	const files = [];
	for (const name of await readdir(folder)) {
		const path = join(folder, name);
		const s = await stat(path);
		if (s.isDirectory()) files.push(...(await walk(root, path)));
		else files.push([relative(root, path), s.size, await sha256Of(path)]);
	}
	return files.sort((a, b) => (a[0] < b[0] ? -1 : 1));
}

const commands = {
	async download(name, path, revision) {
		return describe(await hub.downloadFileToCacheDir({ ...where(name), path, revision }));
	},
	async snapshot(name, revision) {
		const path = await hub.snapshotDownload({ ...where(name), revision });
		return { path, files: await walk(path) };
	},
	async scan() {
		const info = await hub.scanCacheDir();
		const repos = info.repos.map((repo) => ({
			repo_id: repo.id.name,
			repo_type: repo.id.type,
			nb_files: repo.filesCount,
			size_on_disk: repo.size,
			revisions: repo.revisions.map((r) => ({ commit: r.commitOid, refs: [...r.refs].sort() })),
		}));
		repos.sort((a, b) => (a.repo_id < b.repo_id ? -1 : 1));
		return { repos, size_on_disk: info.size, warnings: info.warnings.map(String).sort() };
	},
};

function where(name) {
	return {
		repo: { type: process.env.REPO_TYPE ?? "model", name },
		hubUrl: process.env.HF_ENDPOINT,
		accessToken: process.env.HF_TOKEN,
	};
}

const [command, ...args] = process.argv.slice(2);
if (!Object.hasOwn(commands, command ?? "")) {
	console.error("usage: client.mjs download REPO FILE [REV] | snapshot REPO [REV] | scan");
	process.exit(2);
}
const started = performance.now();
let result;
try {
	result = await commands[command](...args);
} catch (error) {
	console.error(error);
	result = { error: error.code ?? error.name, message: String(error.message) };
	process.exitCode = 1;
}
result.seconds = Math.round(performance.now() - started) / 1000;
result["@huggingface/hub"] = version;
process.stdout.write(JSON.stringify(result) + "\n");
