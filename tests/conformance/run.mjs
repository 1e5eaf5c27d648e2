// Runs http-cache-tests against a gateway and compares what passes with expectation.json.
//
//   node run.mjs --binary PATH [--suite DIR] [--report FILE] [--against URL --backend-port N] [--only ID]
//
// The gateway runs with its default configuration in front of the suite's server, once more with `store_set_cookie`
// for the tests that ask for it. Everything listens on 127.0.0.1. Exit 0 if every required test passes but for the
// listed ones, and no listed one passes unnoticed; else 1.

import { spawn } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const here = path.dirname(fileURLToPath(import.meta.url))
const options = parse(process.argv.slice(2))
const suite = path.resolve(options.suite ?? path.join(here, 'node_modules/http-cache-tests'))
const engine = fs.existsSync(path.join(suite, 'test-engine')) ? path.join(suite, 'test-engine') : suite
const children = []
process.on('exit', () => children.forEach(child => child.kill('SIGKILL')))

const tests = (await import(pathToFileURL(path.join(suite, 'tests/index.mjs')))).default
const byId = new Map(tests.flatMap(set => set.tests.map(test => [test.id, { ...test, set: set.id }])))

if (options.worker) {
  await worker()
} else {
  await main()
}

async function main () {
  const expectation = JSON.parse(fs.readFileSync(path.join(here, 'expectation.json')))
  const backend = await startBackend()
  const runs = { default: await run(backend, []) }
  if (!options.against && !options.only) {
    runs.cookies = await run(backend, ['store_set_cookie = true'])
  }
  const verdicts = judge(runs.default)
  print(verdicts)
  if (options.report) fs.writeFileSync(options.report, JSON.stringify(verdicts, null, 1) + '\n')
  if (options.only || options.against) process.exit(0)
  process.exit(compare(verdicts, judge(runs.cookies), expectation) ? 0 : 1)
}

async function startBackend () {
  const port = Number(options['backend-port'] ?? await freePort())
  const env = { ...process.env, npm_config_protocol: 'http', npm_config_port: String(port), npm_config_pidfile: '/dev/null' }
  start('node', ['-r', path.join(here, 'loopback.cjs'), path.join(engine, 'server/server.mjs')], { cwd: suite, env })
  await answering(port)
  return port
}

async function run (backend, defaults) {
  let base = options.against
  let gateway
  if (!base) {
    const port = await freePort()
    const file = path.join(fs.mkdtempSync(path.join(fs.realpathSync(process.env.TMPDIR ?? '/tmp'), 'conformance-')), 'config.toml')
    const text = defaults.length > 0 ? `[defaults]\n${defaults.join('\n')}\n` : ''
    fs.writeFileSync(file, `[admin]\nlisten = "127.0.0.1:${await freePort()}"\n[log]\naccess = "off"\n${text}`)
    const args = ['run', '--config', file, '--origin', `http://127.0.0.1:${backend}`, '--listen', `127.0.0.1:${port}`]
    gateway = start(path.resolve(options.binary), args, {})
    await answering(port)
    base = `http://127.0.0.1:${port}`
  }
  // The suite keeps its state in modules, so each run is a process of its own.
  const worker = start(process.execPath, ['--no-warnings', fileURLToPath(import.meta.url), '--worker', base,
    '--suite', suite, ...(options.only ? ['--only', options.only] : [])], { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  for await (const piece of worker.stdout) text += piece
  gateway?.kill('SIGKILL')
  return JSON.parse(text.slice(text.indexOf('\u0001') + 1))
}

async function worker () {
  const { runTests, getResults } = await import(pathToFileURL(path.join(engine, 'client/runner.mjs')))
  let selected = tests
  if (options.only) {
    const test = byId.get(options.only)
    selected = [{ name: test.set, id: test.set, description: '', tests: [{ ...test, dump: true }] }]
  }
  // The edition on npm takes a fetch function; later ones bring their own.
  const fetching = path.join(suite, '../node-fetch/lib/index.mjs')
  if (engine === suite) {
    await runTests(selected, (await import(pathToFileURL(fetching))).default, false, options.worker)
  } else {
    await runTests(selected, false, options.worker)
  }
  process.stdout.write('\u0001' + JSON.stringify(getResults()))
  process.exit(0)
}

// A test whose prerequisites fail counts as not passed.
function judge (results) {
  const passes = id => {
    const test = byId.get(id)
    return results[id] === true && (test.depends_on ?? []).every(passes)
  }
  const verdicts = {}
  for (const [id, test] of byId) {
    if (test.browser_only || !(id in results)) continue
    verdicts[id] = { set: test.set, kind: test.kind ?? 'required', passes: passes(id), detail: results[id] === true ? undefined : results[id] }
  }
  return verdicts
}

function print (verdicts) {
  for (const kind of ['required', 'optimal', 'check']) {
    const all = Object.entries(verdicts).filter(([, verdict]) => verdict.kind === kind)
    const passed = all.filter(([, verdict]) => verdict.passes)
    console.log(`${kind}: ${passed.length} of ${all.length}`)
    if (kind === 'check') continue
    for (const [id, verdict] of all.filter(([, verdict]) => !verdict.passes)) {
      console.log(`  not passed: ${verdict.set}/${id}  ${verdict.detail ? verdict.detail.join(': ') : '(a prerequisite does not pass)'}`)
    }
  }
}

function compare (verdicts, withCookies, expectation) {
  const failing = Object.entries(verdicts).filter(([, v]) => v.kind === 'required' && !v.passes).map(([id]) => id)
  const listed = { ...expectation.refused_by_default, ...expectation.not_met }
  const surprises = failing.filter(id => !(id in listed))
  const outdated = Object.keys(listed).filter(id => verdicts[id]?.passes)
  const cookies = Object.keys(expectation.refused_by_default).filter(id => !withCookies[id]?.passes)
  const optimal = Object.values(verdicts).filter(v => v.kind === 'optimal' && v.passes).length
  for (const id of surprises) console.log(`UNEXPECTED: required test ${id} does not pass`)
  for (const id of outdated) console.log(`OUTDATED: ${id} passes although expectation.json lists it`)
  for (const id of cookies) console.log(`UNEXPECTED: ${id} does not pass with store_set_cookie = true`)
  if (optimal < expectation.optimal_at_least) console.log(`UNEXPECTED: ${optimal} optimal tests pass, expected ${expectation.optimal_at_least}`)
  const good = surprises.length + outdated.length + cookies.length === 0 && optimal >= expectation.optimal_at_least
  console.log(`conformance: ${good ? 'as expected' : 'NOT as expected'}`)
  return good
}

function start (command, args, settings) {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'], ...settings })
  child.on('error', error => { console.error(`${command}: ${error.message}`); process.exit(2) })
  children.push(child)
  return child
}

async function freePort () {
  return new Promise((resolve, reject) => {
    const server = net.createServer().on('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

async function answering (port) {
  for (let attempt = 0; attempt < 200; attempt++) {
    const open = await new Promise(resolve => {
      const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true) })
      socket.on('error', () => resolve(false))
    })
    if (open) return
    await new Promise(resolve => setTimeout(resolve, 50))
  }
  throw new Error(`nothing listens on port ${port} after 10 s`)
}

function parse (args) {
  const options = {}
  for (let i = 0; i < args.length; i += 2) options[args[i].replace(/^--/, '')] = args[i + 1]
  return options
}
