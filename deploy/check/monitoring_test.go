package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"sigs.k8s.io/yaml"
)

const (
	alertsFile     = "../prometheus/alerts.yaml"
	alertTestsFile = "../prometheus/alerts_test.yaml"
	dashboardFile  = "../grafana/nowserving.json"
	operations     = "../../docs/operations.md"
)

var promQL = parser.NewParser(parser.Options{})

func alertRules(t testing.TB) []rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(alertsFile, false, model.LegacyValidation, promQL, slog.New(slog.DiscardHandler))
	if len(errs) > 0 || len(groups.Groups) != 1 {
		t.Fatal(errs)
	}
	return groups.Groups[0].Rules
}

// alertTests are of the form that promtool test rules reads; another field is an error.
type alertTests struct {
	RuleFiles          []string       `json:"rule_files"`
	EvaluationInterval model.Duration `json:"evaluation_interval"`
	Tests              []struct {
		Name        string         `json:"name"`
		Interval    model.Duration `json:"interval"`
		InputSeries []struct {
			Series string `json:"series"`
			Values string `json:"values"`
		} `json:"input_series"`
		AlertRuleTest []alertTest `json:"alert_rule_test"`
	} `json:"tests"`
}

type alertTest struct {
	EvalTime  model.Duration `json:"eval_time"`
	Alertname string         `json:"alertname"`
	ExpAlerts []struct {
		Labels      map[string]string `json:"exp_labels"`
		Annotations map[string]string `json:"exp_annotations"`
	} `json:"exp_alerts"`
}

// Each alert fires on the series that it is for, as Prometheus itself works it out,
// and on those of a sound installation none does.
func TestAlertsFire(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(alertTestsFile)
	if err != nil {
		t.Fatal(err)
	}
	var tests alertTests
	if err := yaml.UnmarshalStrict(text, &tests); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(tests.RuleFiles, []string{filepath.Base(alertsFile)}) {
		t.Fatalf("they test %v", tests.RuleFiles)
	}
	fired, quiet := make(map[string]bool), make(map[string]bool)
	for _, one := range tests.Tests {
		load := fmt.Sprintln("load", one.Interval)
		for _, s := range one.InputSeries {
			load += fmt.Sprintln(" ", s.Series, s.Values)
		}
		at := evaluate(t, load, time.Duration(tests.EvaluationInterval), one.AlertRuleTest)
		for _, c := range one.AlertRuleTest {
			var want []string
			for _, a := range c.ExpAlerts {
				a.Labels[labels.AlertName] = c.Alertname
				want = append(want, labels.FromMap(a.Labels).String()+labels.FromMap(a.Annotations).String())
			}
			slices.Sort(want)
			if got := at[time.Duration(c.EvalTime)][c.Alertname]; !slices.Equal(got, want) {
				t.Errorf("%s: %s after %s:\n%s\nnot\n%s", one.Name, c.Alertname, c.EvalTime, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if len(want) > 0 {
				fired[c.Alertname] = true
			} else {
				quiet[c.Alertname] = true
			}
		}
	}
	for _, r := range alertRules(t) {
		if !fired[r.Alert] || !quiet[r.Alert] {
			t.Errorf("%s is not shown both to fire and not to", r.Alert)
		}
	}
}

// evaluate gives the alerts that fire at the times that tests ask about, by their names.
func evaluate(t *testing.T, load string, every time.Duration, tests []alertTest) map[time.Duration]map[string][]string {
	t.Helper()
	suite, err := promqltest.NewLazyLoader(load, promqltest.LazyLoaderOpts{})
	if err != nil {
		t.Fatal(err)
	}
	defer suite.Close()
	suite.SubqueryInterval = every
	m := rules.NewManager(&rules.ManagerOptions{
		QueryFunc:  rules.EngineQueryFunc(suite.QueryEngine(), suite.Storage()),
		Appendable: suite.Storage(), Context: t.Context(), Parser: promQL, Logger: slog.New(slog.DiscardHandler),
		NotifyFunc: func(context.Context, string, ...*rules.Alert) {},
	})
	groups, errs := m.LoadGroups(every, labels.EmptyLabels(), "", nil, false, alertsFile)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	last := time.Duration(0)
	at := make(map[time.Duration]map[string][]string)
	for _, c := range tests {
		at[time.Duration(c.EvalTime)] = make(map[string][]string)
		last = max(last, time.Duration(c.EvalTime))
	}
	for since := time.Duration(0); since <= last; since += every {
		now := time.Unix(0, 0).UTC().Add(since)
		suite.WithSamplesTill(now, func(err error) {
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range groups {
				g.Eval(suite.Context(), now)
				for _, r := range g.Rules() {
					alert, ok := r.(*rules.AlertingRule)
					if !ok || r.LastError() != nil {
						t.Fatalf("%s: %v", r.Name(), r.LastError())
					}
					for _, a := range alert.ActiveAlerts() {
						if asked := at[since]; asked != nil && a.State == rules.StateFiring {
							asked[r.Name()] = append(asked[r.Name()], a.Labels.String()+a.Annotations.String())
						}
					}
					slices.Sort(at[since][r.Name()])
				}
			}
		})
	}
	return at
}

// Whoever is woken finds what to do.
func TestAlertsHaveARunbook(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	sections := make(map[string]bool)
	for _, heading := range regexp.MustCompile(`(?m)^### (Nowserving\w+)$`).FindAllSubmatch(text, -1) {
		sections[string(heading[1])] = true
	}
	for _, r := range alertRules(t) {
		if severity := r.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("%s: %q", r.Alert, severity)
		}
		if r.Annotations["runbook"] != "docs/operations.md#"+strings.ToLower(r.Alert) || !sections[r.Alert] {
			t.Errorf("%s: there is no section %s", r.Alert, r.Annotations["runbook"])
		}
		if r.Annotations["summary"] == "" {
			t.Errorf("%s says nothing", r.Alert)
		}
		delete(sections, r.Alert)
	}
	for name := range sections {
		t.Errorf("%s has a section and is no alert", name)
	}
}

// expressions are those of the rules and the dashboard, by where they stand. What
// Grafana puts in is put in.
func expressions(t testing.TB) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, r := range alertRules(t) {
		all[r.Alert] = r.Expr
	}
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	grafana := strings.NewReplacer("$__rate_interval", "5m", "$namespace", ".*", "$instance", ".*")
	for _, p := range dashboard.Panels {
		for i, target := range p.Targets {
			all[fmt.Sprintf("panel %s, %d", p.Title, i)] = grafana.Replace(target.Expr)
		}
	}
	if len(all) < 80 {
		t.Fatalf("%d expressions", len(all))
	}
	return all
}

// Every expression is one, of metrics that a real node shows, with labels that they
// have. Prometheus adds namespace and instance.
func TestExpressionsAreOfWhatANodeShows(t *testing.T) {
	t.Parallel()
	shown := scrape(t)
	used := make(map[string]bool)
	for where, text := range expressions(t) {
		e, err := promQL.ParseExpr(text)
		if err != nil {
			t.Errorf("%s: %v", where, err)
			continue
		}
		may := map[string]bool{"namespace": true, "instance": true}
		parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
			s, ok := n.(*parser.VectorSelector)
			if !ok {
				return nil
			}
			have, found := shown[s.Name]
			if !found {
				t.Errorf("%s: no node shows %s", where, s.Name)
			}
			used[s.Name] = true
			maps.Copy(may, have)
			for _, m := range s.LabelMatchers {
				if m.Name != model.MetricNameLabel && !have[m.Name] && m.Name != "namespace" && m.Name != "instance" {
					t.Errorf("%s: %s has no label %s", where, s.Name, m.Name)
				}
			}
			return nil
		})
		parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
			if a, ok := n.(*parser.AggregateExpr); ok {
				for _, name := range a.Grouping {
					if !may[name] {
						t.Errorf("%s: nothing in it has the label %s", where, name)
					}
				}
			}
			return nil
		})
	}
	for name := range shown { // histograms by one of their series
		base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		if strings.HasPrefix(name, "nowserving_") && !used[name] && !used[base+"_bucket"] {
			t.Errorf("%s is shown to nobody", name)
		}
	}
}

// scrape gives the labels of every series that a node shows: a real one, with
// certificates, an exchange that is not there, a command and a refused login behind it.
func scrape(t *testing.T) map[string]map[string]bool {
	t.Helper()
	dir := t.TempDir()
	certificate, key := filepath.Join(secrets, "cluster-cert"), filepath.Join(secrets, "cluster-key")
	cmd := exec.Command(program, "serve", "--data-dir", dir, "--http-addr", "127.0.0.1:0", "--ops-addr", "127.0.0.1:0",
		"--amqp-url", "amqp://127.0.0.1:1", "--cluster-tls-cert", certificate, "--cluster-tls-key", key,
		"--cluster-tls-ca", filepath.Join(secrets, "cluster-ca"))
	cmd.Env = []string{"PATH=/bin", "NOWSERVING_ADMIN_PASSWORD=a long enough password"}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
	}()
	said := func(what string) string { return loggedURL(t, log.Name(), what) }
	ops, api := said("operators are served"), said("serving")+"/api/v1"
	token := post(t, api+"/auth/login", "", `{"email":"admin@localhost","password":"a long enough password"}`)["access_token"].(string)
	post(t, api+"/queues", token, `{"id":"a","target_wait_seconds":60}`)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		shown, err := families(ops + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		if shown["nowserving_queue_waiting_tickets"] != nil {
			return shown
		}
	}
	t.Fatal("no line is shown")
	return nil
}

// loggedURL waits for a line of a log that names a URL.
func loggedURL(t *testing.T, file, what string) string {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	url := regexp.MustCompile(`"msg":"` + what + `".*?"url":"([^"]+)"`)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if found := url.FindSubmatch(text); found != nil {
			return string(found[1])
		}
	}
	text, _ := os.ReadFile(file)
	t.Fatalf("it does not say %q:\n%s", what, text)
	return ""
}

func post(t *testing.T, url, token, body string) (answer map[string]any) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode >= 300 {
		t.Fatalf("%s: %s %v %v", url, response.Status, answer, err)
	}
	return answer
}

func families(url string) (map[string]map[string]bool, error) {
	response, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	p := expfmt.NewTextParser(model.LegacyValidation)
	all, err := p.TextToMetricFamilies(response.Body)
	if err != nil || len(all) == 0 {
		return nil, errors.Join(err, errors.New("nothing is shown"))
	}
	shown := make(map[string]map[string]bool)
	for name, f := range all {
		have := make(map[string]bool)
		for _, m := range f.Metric {
			for _, l := range m.Label {
				have[l.GetName()] = true
			}
		}
		shown[name] = have
		if len(f.Metric) > 0 && f.Metric[0].Histogram != nil {
			delete(shown, name)
			shown[name+"_sum"], shown[name+"_count"] = have, have
			bucket := maps.Clone(have)
			bucket["le"] = true
			shown[name+"_bucket"] = bucket
		}
	}
	return shown, nil
}
