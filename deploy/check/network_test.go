package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// peer is who may speak or be spoken to.
type peer struct {
	name      string
	pod       labels.Set
	namespace labels.Set // nil: ours
	address   string     // where it has no pod
}

// Those around the namespace, some of whom are to be let in and some not.
var around = []peer{
	{name: "ingress", namespace: labels.Set{"kubernetes.io/metadata.name": "ingress-nginx"}},
	{name: "prometheus", namespace: labels.Set{"kubernetes.io/metadata.name": "monitoring"}},
	{name: "dns", namespace: labels.Set{"kubernetes.io/metadata.name": "kube-system"}, pod: labels.Set{"k8s-app": "kube-dns"}},
	{name: "kube-system", namespace: labels.Set{"kubernetes.io/metadata.name": "kube-system"}},
	{name: "service", namespace: labels.Set{"nowserving-client": "true"}},
	{name: "stranger", namespace: labels.Set{"kubernetes.io/metadata.name": "other"}, pod: labels.Set{"app.kubernetes.io/name": "nowserving", "app.kubernetes.io/part-of": "nowserving"}},
	{name: "neighbour", pod: labels.Set{"app": "other"}},
	{name: "10.0.0.0/8", address: "10.0.0.0/8"},
	{name: "internet", address: "0.0.0.0/0"},
}

// What may be reached from where. Whatever is not named must not be allowed.
var common = []string{
	"gateway → actors 7000", "gateway → gateway 7000", "gateway → ingest 7000",
	"actors → actors 7000", "actors → gateway 7000", "actors → ingest 7000",
	"ingest → actors 7000", "ingest → gateway 7000", "ingest → ingest 7000",
	"ingress → gateway 8080",
	"prometheus → gateway 8081", "prometheus → actors 8081", "prometheus → ingest 8081",
	"gateway → dns 53", "actors → dns 53", "ingest → dns 53",
}

var reachable = map[string][]string{
	"staging": {
		"gateway → redis 6379", "actors → redis 6379", "ingest → redis 6379",
		"gateway → mysql 3306", "actors → mysql 3306", "ingest → mysql 3306",
		"gateway → rabbitmq 5672", "actors → rabbitmq 5672", "ingest → rabbitmq 5672",
		"redis → dns 53", "mysql → dns 53", "rabbitmq → dns 53",
	},
	"production": {
		"gateway → 10.0.0.0/8 6379", "actors → 10.0.0.0/8 6379", "ingest → 10.0.0.0/8 6379",
		"gateway → 10.0.0.0/8 3306", "actors → 10.0.0.0/8 3306", "ingest → 10.0.0.0/8 3306",
		"gateway → 10.0.0.0/8 5672", "actors → 10.0.0.0/8 5672", "ingest → 10.0.0.0/8 5672",
	},
	"everything": {"service → gateway 9090", "gateway → internet 443", "actors → internet 443"}, // beside what production has
	// With the job besides.
	"argocd staging":    {"migration → mysql 3306", "migration → dns 53"},
	"argocd production": {"migration → 10.0.0.0/8 3306", "migration → dns 53"},
}

var ports = []int32{53, 80, 443, 3306, 4369, 5671, 5672, 6379, clusterPort, 8080, opsPort, 9090, 15672, 25672}

func TestNetworkPoliciesLetThroughWhatIsNeeded(t *testing.T) {
	each(t, func(t *testing.T, m *manifests) {
		place := m.folder[strings.LastIndex(m.folder, "/")+1:]
		want := slices.Concat(common, reachable[place])
		if strings.Contains(m.folder, "argocd") {
			want = append(want, reachable["argocd "+place]...)
		}
		if place == "everything" {
			want = append(want, reachable["production"]...)
		}
		peers := slices.Clone(around)
		for _, w := range m.workloads() {
			peers = append(peers, peer{name: strings.TrimPrefix(w.name, "nowserving-"), pod: w.template.Labels})
		}
		got := make(map[string]bool)
		for _, from := range peers {
			for _, to := range peers {
				for _, port := range ports {
					// Among those around, it is nothing of ours.
					if (m.isOurs(from) || m.isOurs(to)) && m.allows(t, from, to, port) {
						got[fmt.Sprintf("%s → %s %d", from.name, to.name, port)] = true
					}
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(got)) {
			if !slices.Contains(want, name) {
				t.Errorf("allowed is %s", name)
			}
		}
		for _, name := range want {
			if !got[name] {
				t.Errorf("not allowed is %s", name)
			}
		}
	})
}

func (m *manifests) isOurs(p peer) bool {
	return slices.ContainsFunc(m.workloads(), func(w workload) bool { return maps.Equal(w.template.Labels, p.pod) && p.namespace == nil })
}

// allows tells whether a connection passes the policies at both of its ends.
func (m *manifests) allows(t testing.TB, from, to peer, port int32) bool {
	t.Helper()
	return m.passes(t, networkingv1.PolicyTypeEgress, from, to, port) && m.passes(t, networkingv1.PolicyTypeIngress, to, from, port)
}

// passes: who is selected by a policy in that direction is let through by one
// of those that select it, and by nothing else.
func (m *manifests) passes(t testing.TB, direction networkingv1.PolicyType, own, other peer, port int32) bool {
	t.Helper()
	if own.namespace != nil || own.address != "" {
		return true // not governed from here
	}
	held := false
	for _, p := range m.policies {
		if !slices.Contains(p.Spec.PolicyTypes, direction) || !matches(t, &p.Spec.PodSelector, own.pod) {
			continue
		}
		held = true
		for _, rule := range p.Spec.Ingress {
			if direction == networkingv1.PolicyTypeIngress && isFor(t, rule.From, other) && hasPort(rule.Ports, port) {
				return true
			}
		}
		for _, rule := range p.Spec.Egress {
			if direction == networkingv1.PolicyTypeEgress && isFor(t, rule.To, other) && hasPort(rule.Ports, port) {
				return true
			}
		}
	}
	return !held
}

func isFor(t testing.TB, peers []networkingv1.NetworkPolicyPeer, other peer) bool {
	t.Helper()
	return len(peers) == 0 || slices.ContainsFunc(peers, func(p networkingv1.NetworkPolicyPeer) bool {
		switch {
		case p.IPBlock != nil:
			return p.IPBlock.CIDR == other.address
		case other.address != "":
			return false
		case p.NamespaceSelector == nil:
			return other.namespace == nil && matches(t, p.PodSelector, other.pod)
		case other.namespace == nil:
			return false // ours bears its own name, which none of them selects
		}
		return matches(t, p.NamespaceSelector, other.namespace) && (p.PodSelector == nil || matches(t, p.PodSelector, other.pod))
	})
}

func hasPort(ports []networkingv1.NetworkPolicyPort, port int32) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool {
		return p.Port == nil || p.Port.IntVal == port && p.EndPort == nil || p.EndPort != nil && p.Port.IntVal <= port && port <= *p.EndPort
	})
}

func matches(t testing.TB, s *metav1.LabelSelector, set labels.Set) bool {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return selector.Matches(set)
}
