//! The hard maxima of the API, each named once: schemas, admission and the code that commits read them here.

/// Steps of one workflow.
pub const STEPS: usize = 64;
/// Params of one workflow.
pub const PARAMS: usize = 64;
/// Data declarations of one workflow.
pub const DATA: usize = 32;
/// Entries of `after`.
pub const AFTER: usize = 16;
/// Entries of `reads`.
pub const READS: usize = 16;
/// Columns that a split may name.
pub const COLUMNS: usize = 64;
/// Entries of `writes`.
pub const WRITES: usize = 8;
/// Files that one attempt may write.
pub const WRITTEN_FILES: usize = 10_000;
/// Bytes of the path of a file that an attempt writes, below its data.
pub const WRITTEN_PATH_BYTES: usize = 1_024;
/// Counted shards of one step whose files wait to be published; with more, no work of the step is handed out.
pub const UNPUBLISHED: usize = 64;
/// Counted shards that one worker is told to publish at once.
pub const PUBLISHED_AT_ONCE: usize = 16;
/// Shards under which the files of one commit may lie: its own, and those whose running partitions it adopted.
pub const OUTPUT_SHARDS: usize = 8;
/// Results of one step.
pub const RESULTS: usize = 32;
/// Outputs of one workflow.
pub const OUTPUTS: usize = 64;
/// Items of `over.items`.
pub const ITEMS: usize = 10_000;
/// Axes of a matrix.
pub const AXES: usize = 16;
/// Values of one axis of a matrix.
pub const AXIS_VALUES: usize = 1_000;
/// Entries of `include` and of `exclude` of a matrix, each.
pub const MATRIX_EDITS: usize = 256;
/// Environment variables of one step.
pub const ENV: usize = 64;
/// Words of `command` and of `args`, each.
pub const WORDS: usize = 128;
/// Bytes of one word of `command` or `args`, or of one environment value.
pub const WORD_BYTES: usize = 8_192;
/// Bytes of a script.
pub const SCRIPT_BYTES: usize = 24_576;
/// Bytes of a CEL expression.
pub const EXPRESSION_BYTES: usize = 2_048;
/// Partitions of one step: fewer than this.
pub const PARTITIONS: u64 = 1 << 40;
/// Partitions in flight in one worker.
pub const CONCURRENCY: i32 = 256;
/// Keys that a keyed result may hold at most (`maxKeys`).
pub const KEYS: i32 = 50_000;
/// Partitions in flight that `parallelism` may ask for.
pub const PARALLELISM: u64 = 1_000_000;
/// Rules of a `retry`.
pub const RETRY_RULES: usize = 16;
/// Exit codes of one rule of a `retry`.
pub const EXIT_CODES: usize = 32;
/// Partitions that a status names as the slowest.
pub const SLOWEST: usize = 10;
/// What took less is not named as slow, in milliseconds: quick partitions cost no commit anything.
pub const SLOW_MILLIS: u64 = 1_000;
/// Bytes that an attempt may save for the next, where `checkpoint.size` says nothing.
pub const CHECKPOINT_BYTES: u64 = 64 << 20;
/// Failed partitions that a status names for each cause, the lowest first.
pub const CAUSE_PARTITIONS: u64 = 1_000;
/// Rounds of a step that repeats.
pub const ROUNDS: i32 = 10_000;
/// Keys of a keyed result of `Quantiles` at most.
pub const QUANTILES_KEYS: i32 = 64;
/// Keys of a keyed result of `Distinct` at most.
pub const DISTINCT_KEYS: i32 = 128;
/// Entries of `at`.
pub const QUANTILES_AT: usize = 16;
/// Entries of `carry`.
pub const CARRY: usize = 8;
/// Bytes of what comes along with one value (`carry`), as JSON.
pub const CARRY_BYTES: usize = 1_024;
/// Bytes of a list that `Collect` makes, as JSON.
pub const LIST_BYTES: usize = 64 * 1024;
/// Pools of one workflow.
pub const POOLS: usize = 8;
/// Bytes of the name of a `WorkerPool`: a Job's name and a pod's are made of it.
pub const WORKER_POOL_NAME: usize = 46;
/// Namespaces that a `WorkerPool` names as those whose runs may use it.
pub const ALLOWED_NAMESPACES: usize = 256;
/// Entries of a pod's lists that a workflow may give: `envFrom`, `volumeMounts`.
pub const POD_PARTS: usize = 32;
/// Bytes of a pod class: the template of a pool and what a program needs of its container.
pub const POD_CLASS_BYTES: usize = 64 * 1024;
/// Bytes of a frozen program ("card") of a step.
pub const CARD_BYTES: usize = 32 * 1024;
/// Bytes of one result's partial state, before base64.
pub const PARTIAL_BYTES: usize = 32 * 1024;
/// Bytes of one shard's entry in a Worker's status.
pub const SHARD_BYTES: usize = 96 * 1024;
/// Bytes of a workflow's status.
pub const STATUS_BYTES: usize = 256 * 1024;
/// Shards in one worker's spec: the running one, those ahead, and sealed ones that wait for their fold.
pub const SHARDS_PER_WORKER: usize = 16;
/// Cards in one worker's spec.
pub const CARDS_PER_WORKER: usize = 8;
/// Settled shards that a worker's spec still names.
pub const SETTLED: usize = 64;
/// Partitions that wait for their next attempt, per step.
pub const DEFERRED: usize = 1_000;
/// Ranges under suspicion of killing their workers, per step.
pub const SUSPECTS: usize = 64;
/// Deaths on one range that are told apart.
pub const WITNESSES: usize = 8;
/// Causes of failure that a status names, the commonest first.
pub const FAILURE_CAUSES: usize = 10;
/// Bytes of one failure message in a status.
pub const MESSAGE_BYTES: usize = 512;
/// Chunks of one plan.
pub const PLAN_CHUNKS: i32 = 8;
/// Bytes of one plan chunk before base64; eight of them hold about a million paths.
pub const PLAN_CHUNK_BYTES: usize = 900 * 1024;
/// Deaths of its worker or shim after which a partition is set aside as poison, where its step says nothing else.
pub const POISON_DEATHS: i32 = 3;
