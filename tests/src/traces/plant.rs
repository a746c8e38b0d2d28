//! What can be wrong with the canary.

/// One difference between the arms, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plant {
    /// Nothing at all.
    Nothing,
    /// A query takes 50 % longer.
    SlowQuery,
    /// A service that is called takes 50 % longer.
    SlowCallee,
    /// The service's own code takes 50 % longer.
    SlowCode,
    /// One query per item of the cart rather than one for all.
    NPlusOne,
    /// Prices are asked for item by item at the same time.
    FanOut,
    /// Payments fail more often and are tried again.
    RetryStorm,
    /// The cache answers 35 % rather than 80 % of the time.
    LostCache,
    /// A query that the baseline does not make.
    NewCall,
    /// 3 % of requests fail with an exception of a new kind.
    NewException,
    /// A known failure happens three times as often.
    MoreErrors,
    /// Requests of one tenant became slow in one query.
    SlowTenant,
    /// One of the canary's pods is 60 % slower in everything.
    BadHost,
    /// An operation and a query have new names; nothing else changed.
    Renamed,
    /// The canary gets more of the slow route.
    TrafficMix,
    /// One tenant is slow in both arms.
    SlowTenantInBoth,
    /// Both arms are slow for half a minute.
    SharedIncident,
    /// Pods of both arms differ among themselves by 5 % (standard deviation).
    PodsDiffer,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Nothing,
        Self::SlowQuery,
        Self::SlowCallee,
        Self::SlowCode,
        Self::NPlusOne,
        Self::FanOut,
        Self::RetryStorm,
        Self::LostCache,
        Self::NewCall,
        Self::NewException,
        Self::MoreErrors,
        Self::SlowTenant,
        Self::BadHost,
        Self::Renamed,
        Self::TrafficMix,
        Self::SlowTenantInBoth,
        Self::SharedIncident,
        Self::PodsDiffer,
    ];

    /// Whether the arms do not differ in anything that is worse: whatever is named then is named wrongly.
    pub fn is_harmless(self) -> bool {
        match self {
            Self::Nothing
            | Self::Renamed
            | Self::SlowTenantInBoth
            | Self::SharedIncident
            | Self::PodsDiffer => true,
            Self::SlowQuery
            | Self::SlowCallee
            | Self::SlowCode
            | Self::NPlusOne
            | Self::FanOut
            | Self::RetryStorm
            | Self::LostCache
            | Self::NewCall
            | Self::NewException
            | Self::MoreErrors
            | Self::SlowTenant
            | Self::BadHost
            | Self::TrafficMix => false,
        }
    }
}
