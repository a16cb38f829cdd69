// Checks X-Menshen-Assertion before every request: a configuration beside the application's class.
package example.shop;

import java.time.Duration;
import java.util.List;
import java.util.Objects;

import org.springframework.beans.factory.annotation.Value;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.security.config.Customizer;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.oauth2.core.DelegatingOAuth2TokenValidator;
import org.springframework.security.oauth2.jose.jws.SignatureAlgorithm;
import org.springframework.security.oauth2.jwt.JwtAudienceValidator;
import org.springframework.security.oauth2.jwt.JwtClaimValidator;
import org.springframework.security.oauth2.jwt.JwtDecoder;
import org.springframework.security.oauth2.jwt.JwtIssuerValidator;
import org.springframework.security.oauth2.jwt.JwtTimestampValidator;
import org.springframework.security.oauth2.jwt.JwtTypeValidator;
import org.springframework.security.oauth2.jwt.NimbusJwtDecoder;
import org.springframework.security.oauth2.server.resource.web.HeaderBearerTokenResolver;
import org.springframework.security.web.SecurityFilterChain;

@Configuration
public class AssertionConfiguration {

    @Bean
    JwtDecoder assertions(@Value("${menshen.jwks}") String jwks, @Value("${menshen.audience}") String audience) {
        // Keys are kept for five minutes, and fetched again for an unknown kid.
        NimbusJwtDecoder decoder = NimbusJwtDecoder.withJwkSetUri(jwks)
            .jwsAlgorithm(SignatureAlgorithm.ES256).validateType(false).build();
        decoder.setJwtValidator(new DelegatingOAuth2TokenValidator<>(
            new JwtTypeValidator(List.of("assertion+jwt")), new JwtTimestampValidator(Duration.ZERO),
            new JwtIssuerValidator("menshen"), new JwtAudienceValidator(audience),
            new JwtClaimValidator<>("sub", Objects::nonNull), new JwtClaimValidator<>("exp", Objects::nonNull)));
        return decoder;
    }

    @Bean
    SecurityFilterChain onlyWithAssertion(HttpSecurity http) throws Exception {
        return http.authorizeHttpRequests(requests -> requests.anyRequest().authenticated())
            .oauth2ResourceServer(server -> server.jwt(Customizer.withDefaults())
                .bearerTokenResolver(new HeaderBearerTokenResolver("X-Menshen-Assertion")))
            .build();
    }
}
