package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// What is installed: the overlays, what Argo CD makes of them, and one with all
// that may be added.
var folders = []string{"../overlays/staging", "../overlays/production", "../argocd/staging", "../argocd/production", "testdata/everything"}

// The three roles, each a Deployment.
var roles = []string{"gateway", "actors", "ingest"}

// manifests are what a folder renders to. A field that Kubernetes does not know
// fails the test that reads it.
type manifests struct {
	folder      string
	namespaces  []*corev1.Namespace
	deployments []*appsv1.Deployment
	stores      []*appsv1.StatefulSet
	jobs        []*batchv1.Job
	services    []*corev1.Service
	settings    []*corev1.ConfigMap
	ingresses   []*networkingv1.Ingress
	policies    []*networkingv1.NetworkPolicy
	scalers     []*autoscalingv2.HorizontalPodAutoscaler
	budgets     []*policyv1.PodDisruptionBudget
}

// each runs a test on every folder.
func each(t *testing.T, test func(t *testing.T, m *manifests)) {
	t.Helper()
	t.Parallel()
	for _, folder := range folders {
		t.Run(folder, func(t *testing.T) {
			t.Parallel()
			test(t, read(t, folder))
		})
	}
}

func read(t testing.TB, folder string) *manifests {
	t.Helper()
	all, err := render(folder)
	if err != nil {
		t.Fatal(err)
	}
	m := &manifests{folder: folder}
	for _, one := range all.Resources() {
		text, err := one.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		switch one.GetKind() {
		case "Namespace":
			add(t, text, &m.namespaces)
		case "Deployment":
			add(t, text, &m.deployments)
		case "StatefulSet":
			add(t, text, &m.stores)
		case "Job":
			add(t, text, &m.jobs)
		case "Service":
			add(t, text, &m.services)
		case "ConfigMap":
			add(t, text, &m.settings)
		case "Ingress":
			add(t, text, &m.ingresses)
		case "NetworkPolicy":
			add(t, text, &m.policies)
		case "HorizontalPodAutoscaler":
			add(t, text, &m.scalers)
		case "PodDisruptionBudget":
			add(t, text, &m.budgets)
		case "Issuer", "Certificate": // cert-manager's, of which nothing is known here
		default:
			t.Fatalf("nothing is checked of a %s", one.GetKind())
		}
		if ns := m.namespace(); one.GetKind() != "Namespace" && one.GetNamespace() != ns {
			t.Errorf("%s is in the namespace %q, not in %q", one.CurId(), one.GetNamespace(), ns)
		}
	}
	if len(m.deployments) != len(roles) {
		t.Fatalf("%d deployments", len(m.deployments))
	}
	return m
}

func add[T any](t testing.TB, text []byte, to *[]*T) {
	t.Helper()
	one := new(T)
	text, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	// As Kubernetes reads it, to the letter's case.
	if wrong, err := json.UnmarshalStrict(text, one); err != nil || len(wrong) > 0 {
		t.Fatalf("%v %v in\n%s", err, wrong, text)
	}
	*to = append(*to, one)
}

func (m *manifests) namespace() string {
	if len(m.namespaces) != 1 {
		return ""
	}
	return m.namespaces[0].Name
}

// workload is whatever runs pods.
type workload struct {
	name     string
	selector *metav1.LabelSelector // nil for a job
	template corev1.PodTemplateSpec
	node     bool // of ours, and goes on running
	ours     bool // runs this program
}

func (m *manifests) workloads() (all []workload) {
	for _, d := range m.deployments {
		all = append(all, workload{d.Name, d.Spec.Selector, d.Spec.Template, true, true})
	}
	for _, j := range m.jobs {
		all = append(all, workload{j.Name, nil, j.Spec.Template, false, true})
	}
	for _, s := range m.stores {
		all = append(all, workload{s.Name, s.Spec.Selector, s.Spec.Template, false, false})
	}
	return all
}

func (w workload) container(t testing.TB) corev1.Container {
	t.Helper()
	if n := len(w.template.Spec.Containers) + len(w.template.Spec.InitContainers); n != 1 {
		t.Fatalf("%s has %d containers", w.name, n)
	}
	return w.template.Spec.Containers[0]
}

// port gives the number of a container's port by name or number.
func (w workload) port(t testing.TB, name string) int32 {
	t.Helper()
	for _, p := range w.container(t).Ports {
		if p.Name == name || fmt.Sprint(p.ContainerPort) == name {
			return p.ContainerPort
		}
	}
	t.Errorf("%s has no port %s", w.name, name)
	return 0
}

// selected gives the workloads whose pods a selector finds.
func (m *manifests) selected(t testing.TB, selector *metav1.LabelSelector) (names []string) {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range m.workloads() {
		if s.Matches(labels.Set(w.template.Labels)) {
			names = append(names, w.name)
		}
	}
	slices.Sort(names)
	return names
}

// one fails unless a selector finds the pods of just that workload.
func (m *manifests) one(t testing.TB, what string, selector *metav1.LabelSelector, want string) {
	t.Helper()
	if got := m.selected(t, selector); !slices.Equal(got, []string{want}) {
		t.Errorf("%s selects %v, not %s", what, got, want)
	}
}

func TestSelectorsFindWhatTheyAreFor(t *testing.T) {
	each(t, func(t *testing.T, m *manifests) {
		for _, w := range m.workloads() {
			if w.selector != nil {
				m.one(t, w.name, w.selector, w.name)
			}
			for _, spread := range w.template.Spec.TopologySpreadConstraints {
				// One role's pods of one version, for these keys of the pod's are added.
				own := maps.Clone(spread.LabelSelector.MatchLabels)
				for _, key := range spread.MatchLabelKeys {
					if key != "pod-template-hash" {
						own[key] = w.template.Labels[key]
					}
				}
				m.one(t, "the spread of "+w.name, &metav1.LabelSelector{MatchLabels: own}, w.name)
			}
			if w.node && len(w.template.Spec.TopologySpreadConstraints) == 0 {
				t.Errorf("%s is not spread", w.name)
			}
		}
		for _, b := range m.budgets {
			m.one(t, "the budget "+b.Name, b.Spec.Selector, b.Name)
		}
		for _, s := range m.services {
			want := s.Name
			if want == "nowserving" || want == "nowserving-grpc" {
				want = "nowserving-gateway"
			}
			m.one(t, "the service "+s.Name, &metav1.LabelSelector{MatchLabels: s.Spec.Selector}, want)
			for _, w := range m.workloads() {
				if w.name != want {
					continue
				}
				for _, p := range s.Spec.Ports {
					if port := w.port(t, p.TargetPort.String()); port == clusterPort || port == opsPort {
						t.Errorf("the service %s leads to port %d", s.Name, port)
					}
				}
			}
		}
		for _, s := range m.stores {
			if !slices.ContainsFunc(m.services, func(other *corev1.Service) bool { return other.Name == s.Spec.ServiceName }) {
				t.Errorf("%s has no service", s.Name)
			}
		}
		for _, i := range m.ingresses {
			m.checkIngress(t, i)
		}
	})
}

func (m *manifests) checkIngress(t *testing.T, i *networkingv1.Ingress) {
	t.Helper()
	var hosts []string
	for _, tls := range i.Spec.TLS {
		hosts = append(hosts, tls.Hosts...)
	}
	for _, rule := range i.Spec.Rules {
		if !slices.Contains(hosts, rule.Host) {
			t.Errorf("the host %s is served without TLS", rule.Host)
		}
		for _, path := range rule.HTTP.Paths {
			to := path.Backend.Service
			if !slices.ContainsFunc(m.services, func(s *corev1.Service) bool {
				return s.Name == to.Name && slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == to.Port.Name })
			}) {
				t.Errorf("there is no service %s with port %s", to.Name, to.Port.Name)
			}
		}
	}
	if len(i.Spec.Rules) == 0 {
		t.Error("the ingress leads nowhere")
	}
}

// A sudden end of one pod leaves others, a planned one waits for others, and
// nobody but the scaler says how many there are.
func TestEnoughNodesAreLeft(t *testing.T) {
	each(t, func(t *testing.T, m *manifests) {
		for _, d := range m.deployments {
			least := int32(0)
			if d.Spec.Replicas != nil {
				least = *d.Spec.Replicas
			}
			for _, s := range m.scalers {
				if s.Spec.ScaleTargetRef.Name != d.Name || s.Spec.ScaleTargetRef.Kind != "Deployment" {
					continue
				}
				if d.Spec.Replicas != nil {
					t.Errorf("%s and its scaler both say how many there are", d.Name)
				}
				if least = *s.Spec.MinReplicas; s.Spec.MaxReplicas <= least {
					t.Errorf("%s cannot grow", d.Name)
				}
				if d.Spec.Template.Spec.Containers[0].Resources.Requests.Cpu().IsZero() {
					t.Errorf("%s asks for no processor, of which its scaler counts a share", d.Name)
				}
			}
			i := slices.IndexFunc(m.budgets, func(b *policyv1.PodDisruptionBudget) bool { return b.Name == d.Name })
			if i < 0 {
				t.Errorf("%s has no budget", d.Name)
				continue
			}
			if b := m.budgets[i].Spec; b.MaxUnavailable == nil || b.MaxUnavailable.IntValue() != 1 || least < 2 {
				t.Errorf("of %d %s, the budget is %v", least, d.Name, b.MaxUnavailable)
			}
			r := d.Spec.Strategy.RollingUpdate
			if r == nil || r.MaxUnavailable.IntValue() != 0 || r.MaxSurge.IntValue() < 1 {
				t.Errorf("%s is replaced by %v", d.Name, r)
			}
		}
		for _, s := range m.scalers {
			if !slices.ContainsFunc(m.deployments, func(d *appsv1.Deployment) bool { return d.Name == s.Spec.ScaleTargetRef.Name }) {
				t.Errorf("the scaler %s is for nothing", s.Name)
			}
		}
	})
}

// drains is within what time the program ends after SIGTERM, by its contract.
const drains = 30

func TestPodsHaveTimeToEnd(t *testing.T) {
	each(t, func(t *testing.T, m *manifests) {
		for _, d := range m.deployments {
			spec := d.Spec.Template.Spec
			hook := spec.Containers[0].Lifecycle
			if hook == nil || hook.PreStop == nil || hook.PreStop.Sleep == nil || hook.PreStop.Sleep.Seconds < 3 {
				t.Fatalf("%s stops before the service has stopped sending", d.Name)
			}
			if grace := *spec.TerminationGracePeriodSeconds; grace < hook.PreStop.Sleep.Seconds+drains {
				t.Errorf("%s is killed %d s after its end began, of which it sleeps %d and may need %d", d.Name, grace, hook.PreStop.Sleep.Seconds, drains)
			}
		}
	})
}

// What Kubernetes calls restricted, and nothing to write to in our containers.
func TestPodsMayDoLittle(t *testing.T) {
	each(t, func(t *testing.T, m *manifests) {
		if m.namespaces[0].Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
			t.Error("the namespace takes any pod")
		}
		for _, w := range m.workloads() {
			pod, c := w.template.Spec.SecurityContext, w.container(t)
			if pod == nil || pod.RunAsNonRoot == nil || !*pod.RunAsNonRoot || pod.RunAsUser == nil || *pod.RunAsUser == 0 ||
				pod.SeccompProfile == nil || pod.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
				t.Errorf("%s: %+v", w.name, pod)
			}
			own := c.SecurityContext
			if own == nil || own.AllowPrivilegeEscalation == nil || *own.AllowPrivilegeEscalation || own.Privileged != nil ||
				own.Capabilities == nil || !slices.Equal(own.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(own.Capabilities.Add) > 0 {
				t.Errorf("%s: %+v", w.name, own)
			}
			if w.template.Spec.AutomountServiceAccountToken == nil || *w.template.Spec.AutomountServiceAccountToken ||
				w.template.Spec.EnableServiceLinks == nil || *w.template.Spec.EnableServiceLinks ||
				w.template.Spec.HostNetwork || w.template.Spec.HostPID {
				t.Errorf("%s has more of Kubernetes than it needs", w.name)
			}
			if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
				t.Errorf("%s: %+v", w.name, c.Resources)
			}
			if !w.ours {
				continue
			}
			if own.ReadOnlyRootFilesystem == nil || !*own.ReadOnlyRootFilesystem {
				t.Errorf("%s may write to its image", w.name)
			}
			for _, v := range w.template.Spec.Volumes {
				if v.Secret == nil {
					t.Errorf("%s has the volume %s", w.name, v.Name)
				}
			}
		}
	})
}

// Each image has a tag, and all of ours have the same.
func TestImages(t *testing.T) {
	each(t, func(t *testing.T, m *manifests) {
		ours := make(map[string]bool)
		for _, w := range m.workloads() {
			image := w.container(t).Image
			if _, tag, found := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":"); !found || tag == "latest" {
				t.Errorf("%s runs %s", w.name, image)
			}
			if w.ours {
				ours[image] = true
			}
		}
		if len(ours) != 1 {
			t.Errorf("this program is run from %v", slices.Collect(maps.Keys(ours)))
		}
	})
}
